"""The system prompt says what an agent's policy lets it do, and where its own notes go."""

from __future__ import annotations

import pytest

from trioagent._config import VaultPolicy
from trioagent._errors import InvalidInputError
from trioagent._prompt import SYSTEM_PROMPT, system_prompt


def test_the_default_policy_adds_nothing() -> None:
    assert system_prompt(policy=VaultPolicy()) == system_prompt() == SYSTEM_PROMPT
    assert system_prompt("Be brief.") == "Be brief."
    assert system_prompt("Be brief.", "In French.") == "Be brief.\n\nIn French.\n"


def test_the_agents_own_folder() -> None:
    text = system_prompt(policy=VaultPolicy(agent_folder="agent"))
    assert "`agent/user.md`" in text and "`agent/entities/<name>.md`" in text and "[[agent/entities/name]]" in text
    assert "`user.md`" not in text and "[[entities/" not in text and '"user.md"' not in text
    assert "a person reads and writes, too" in text and "All other notes are the person's." in text
    own = system_prompt("Be brief.", policy=VaultPolicy(agent_folder="agent"))
    assert own == "Be brief.\n\n# What you may touch\nThe notes of your own go into `agent/`.\n"


def test_what_may_be_read_and_written() -> None:
    policy = VaultPolicy(readable=["**", "!journal/**"], writable=["agent/**", "*.md"])
    text = system_prompt(append="In French.", policy=policy)
    assert "You are shown only notes that match `**`, but not `journal/**`.\n" in text
    assert "You may write only notes that match `agent/**` or `*.md`.\n" in text
    assert text.endswith("\n\nIn French.\n")
    assert "change none of them" in system_prompt(policy=VaultPolicy(read_only=True))
    own = system_prompt(policy=VaultPolicy(readable=["!journal/**"], agent_folder="agent"))
    assert "match anything, but not `journal/**`" in own and "`agent/` is yours to read and write" in own


@pytest.mark.parametrize("folder", ["/agent", "a/../b", ".agent", "a*", "a\n", "agent/", 1, "a//b"])
def test_folders_that_are_none(folder: object) -> None:
    with pytest.raises(InvalidInputError, match="agent_folder"):
        VaultPolicy(agent_folder=folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("globs", ["**", ["/a"], ["a/"], ["!"], ["!!a"], [], ["../a"]])
def test_globs_that_are_none(globs: object) -> None:
    with pytest.raises(InvalidInputError, match="readable"):
        VaultPolicy(readable=globs)


def test_a_policy_as_data() -> None:
    assert VaultPolicy().as_data() == {}
    policy = VaultPolicy(readable=["a/**"], suffixes=[".md"], read_only=True, agent_folder="agent")
    data = policy.as_data()
    assert data == {"readable": ["a/**"], "suffixes": [".md"], "read_only": True, "agent_folder": "agent"}
    assert VaultPolicy(**data) == policy
