"""What an agent may touch, by options and profiles; somebody's vault, and one that may not be written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trioagent._config import VaultPolicy
from trioagent.batch import CONVERSATIONS, read_rows
from trioagent.cli._model_options import PolicyChoice, policy_for
from trioagent.cli._profiles import Profile

from ..batch.test_policies import as_plain_user
from .conftest import Run, Serve
from .support import notes_in, trioagent
from .test_options import write_config
from .test_run import REPLY, at

pytestmark = pytest.mark.real

WRITE = "<think>t</think><python>x = create_file('user.md', 'x'), create_file('agent/user.md', 'x')</python>"
PROFILE = """
[profiles.default]
blind_overwrite = "allow"
[profiles.default.policy]
readable = ["**", "!journal/**"]
writable = ["agent/**"]
agent_folder = "agent"
"""


async def test_a_profiles_policy(home: Path, serve: Serve) -> None:
    (home / "notes" / "agent").mkdir(parents=True)
    (home / "notes" / "agent" / "user.md").write_text("old")
    write_config(home, PROFILE)
    server = await serve(WRITE, REPLY)
    done = await trioagent("run", "hello", "--memory", "notes", *at(server), home=home)
    assert (done.code, done.err) == (0, "")
    assert notes_in(home / "notes") == {"agent/user.md": b"x"}
    prompt, result = server.requests[0].messages[0]["content"], server.requests[1].messages[-1]["content"]
    assert "`agent/user.md`" in prompt and "but not `journal/**`" in prompt
    assert "only notes that match agent/** may be written" in result


async def test_options_count_before_the_profile(home: Path, serve: Serve) -> None:
    write_config(home, PROFILE)
    server = await serve(WRITE, REPLY, WRITE, REPLY)
    done = await trioagent("run", "hello", "--memory", "notes", "--writable", "user.md", *at(server), home=home)
    assert done.code == 0 and sorted(notes_in(home / "notes")) == ["agent/user.md", "user.md"]
    read_only = ("--read-only", "--agent-folder", "", "--readable", "*.md")
    done = await trioagent("run", "hello", "--memory", "other", *read_only, *at(server), home=home)
    assert done.code == 0 and notes_in(home / "other") == {}
    prompt = server.requests[2].messages[0]["content"]
    assert (
        "change none of them" in prompt and "shown only notes that match `*.md`." in prompt and "agent/" not in prompt
    )


async def test_a_batchs_policy(home: Path, serve: Serve) -> None:
    write_config(home, PROFILE)
    server = await serve(WRITE, REPLY)
    (home / "jobs.jsonl").write_text(json.dumps({"id": "a", "memory": "notes", "messages": ["m"]}))
    done = await trioagent("batch", "jobs.jsonl", "--run-dir", "run", "--quiet", *at(server), home=home)
    assert (done.code, done.err) == (0, "")
    assert notes_in(home / "notes") == {"agent/user.md": b"x"}
    (row,) = read_rows(home / "run" / CONVERSATIONS)
    assert "agent/user.md" in row["messages"][0]["content"]
    again = await trioagent("batch", "jobs.jsonl", "--run-dir", "run", "--read-only", *at(server), home=home)
    assert again.code == 2 and "policy was {" in again.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy = {writeable = ['x']}", "did you mean 'writable'"),
        ("policy = {agent_folder = '/x'}", "agent_folder"),
        ("blind_overwrite = 'maybe'", "blind_overwrite"),
    ],
)
def test_profiles_that_cannot_be_used(home: Path, run: Run, text: str, words: str) -> None:
    write_config(home, f"[profiles.default]\n{text}\n")
    done = run("run", "hello", "--memory", "notes", "--model", "offline-rules")
    assert done.code == 2 and words in done.err


def test_somebodys_vault(tmp_path: Path) -> None:
    default = PolicyChoice()
    assert policy_for(tmp_path / "new", default, Profile()) == (VaultPolicy(), ())
    assert policy_for(tmp_path, default, Profile()) == (VaultPolicy(), ())
    (tmp_path / "Reading list.md").write_text("x")
    policy, (note,) = policy_for(tmp_path, default, Profile())
    assert policy == VaultPolicy(agent_folder="agent") and "the agent's own go into agent/" in note
    (tmp_path / "agent").mkdir()
    assert policy_for(tmp_path, default, Profile())[0].agent_folder == "agent"  # and again the next time
    assert policy_for(tmp_path, PolicyChoice(agent_folder=""), Profile()) == (VaultPolicy(), ())
    own = Profile(policy=VaultPolicy(agent_folder="ai"))
    assert policy_for(tmp_path, default, own) == (VaultPolicy(agent_folder="ai"), ())
    (tmp_path / "user.md").write_text("x")  # an agent's notes, at the root
    assert policy_for(tmp_path, default, Profile()) == (VaultPolicy(), ())


def test_one_that_may_not_be_written() -> None:
    with as_plain_user() as folder:
        policy, (note,) = policy_for(folder, PolicyChoice(), Profile())
        assert policy.read_only and "the agent only reads it" in note
        assert policy_for(folder, PolicyChoice(read_only=True), Profile())[1] == ()
        assert not os.access(folder, os.W_OK, effective_ids=True)
