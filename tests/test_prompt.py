"""The system prompt says what an agent's policy lets it do, where its own notes go, and what day it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from trioagent._config import AgentConfig, VaultPolicy
from trioagent._errors import InvalidInputError
from trioagent._prompt import SYSTEM_PROMPT, date_and_zone, said_date, system_prompt, with_date


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


def test_the_date_and_the_zone() -> None:
    winter = datetime(2026, 11, 29, 23, 59, tzinfo=timezone(timedelta(hours=1), "CET"))
    assert date_and_zone(winter) == "Sunday, 2026-11-29 (time zone UTC+01:00, CET)"
    assert date_and_zone(winter.astimezone(UTC)) == "Sunday, 2026-11-29 (time zone UTC)"
    assert date_and_zone(winter.astimezone(timezone(-timedelta(hours=3, minutes=30)))) == (
        "Sunday, 2026-11-29 (time zone UTC-03:30)"
    )
    assert with_date("Be brief.", "Sunday") == "Be brief.\n\nToday is Sunday.\n"
    assert with_date("Be brief.", "") == "Be brief."


@pytest.mark.parametrize(
    ("setting", "with_built_in", "with_own"),
    [("auto", "now", ""), ("today", "now", "now"), ("none", "", ""), ("May 2024", "May 2024", "May 2024")],
)
def test_whether_the_date_is_said(setting: str, with_built_in: str, with_own: str) -> None:
    assert said_date(setting, is_own_prompt=False, today="now") == with_built_in
    assert said_date(setting, is_own_prompt=True, today="now") == with_own


@pytest.mark.parametrize("date", ["", " ", "two\nlines", "x" * 101, 3])
def test_a_date_is_one_line_of_words(date: object) -> None:
    with pytest.raises(InvalidInputError, match=r"AgentConfig\.date: must be 'auto', 'today', 'none', or a date"):
        AgentConfig(date=date)  # type: ignore[arg-type]
