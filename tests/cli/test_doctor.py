"""``trioagent doctor``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run
from .support import environment

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.real


def test_what_works_here(run: Run) -> None:
    env = {
        "TRIOAGENT_MODEL": "my-model",
        "TRIOAGENT_BASE_URL": "http://localhost:8000/v1",
        "TRIOAGENT_API_KEY": "sk-secret",
    }
    said = run("doctor", env=env)
    assert (said.code, said.err) == (0, "")
    assert "  ok   a block: ran confined" in said.out
    assert "  ok   TRIOAGENT_API_KEY: set\n" in said.out
    assert "  ok   OPENROUTER_API_KEY: not set\n" in said.out
    assert "  ok   in effect: my-model at http://localhost:8000/v1, with a key\n" in said.out
    assert "secret" not in said.out
    assert "FAIL" not in said.out


def test_a_key_in_the_address_is_refused_and_not_shown(run: Run) -> None:
    env = {"TRIOAGENT_MODEL": "my-model", "TRIOAGENT_BASE_URL": "http://me:secret@localhost:8000/v1?key=secret"}
    said = run("doctor", env=env)
    assert "  ok   TRIOAGENT_BASE_URL: http://localhost:8000/v1\n" in said.out
    assert "  FAIL in effect: " in said.out
    assert "secret" not in said.out + said.err


def test_settings_that_mean_no_model_are_named_with_advice(run: Run) -> None:
    said = run("doctor", env={"TRIOAGENT_MODEL": "gpt-9"})
    assert said.code == 0  # the sandbox works
    assert "  FAIL in effect: model: 'gpt-9' is not known" in said.out
    assert "what to do: " in said.out


def refused(home: Path, scenario: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the kernel refuses what the *scenario* of the sandbox's tests says."""
    code = (
        "import sys\n"
        "from tests.sandbox.refusals import SCENARIOS\n"
        "for impose in SCENARIOS[sys.argv[1]]: impose()\n"
        "from trioagent.cli import main\n"
        "sys.exit(main(sys.argv[2:]))"
    )
    env = {**environment(home), "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-c", code, scenario, *arguments],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_where_only_a_lesser_sandbox_works(home: Path) -> None:
    said = refused(home, "namespaces forbidden", "doctor")
    assert (said.returncode, said.stderr) == (0, "")
    assert "  no   namespaces: " in said.stdout  # not "FAIL": agents can run
    assert "what to do: user namespaces are not allowed here." in said.stdout
    assert "Agents run in the tier 'kernel-lite'." in said.stdout
    assert "FAIL" not in said.stdout


def test_as_json(run: Run) -> None:
    said = run("doctor", "--json", env={"TRIOAGENT_API_KEY": "sk-secret"})
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["tier"] == "kernel"
    assert [report["tier"] for report in found["tiers"]] == ["kernel", "kernel-lite", "monty"]
    assert found["tiers"][0]["works"] and found["tiers"][0]["checks"][-1]["name"] == "a block"
    assert {check["name"] for check in found["machine"]} >= {"trioagent", "Python", "system"}
    (git,) = [check for check in found["machine"] if check["name"] == "git"]
    assert git["ok"] and ", with which the history of notes is read" in git["detail"]
    assert "secret" not in said.out


def test_where_no_sandbox_works(home: Path) -> None:
    doctor = refused(home, "nothing works", "doctor")
    run = refused(home, "nothing works", "run", "hi", "--memory", "notes", "--model", "offline-rules")
    assert (doctor.returncode, run.returncode) == (1, 1)
    assert doctor.stdout.count("  FAIL ") == 3
    assert doctor.stdout.count("what to do: ") >= 2
    assert "No sandbox works here" in doctor.stdout
    assert run.stderr.startswith("error: no sandbox for model-written code works on this machine (kernel: namespaces")
    assert "; kernel-lite: " in run.stderr and "; monty: " in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not os.path.exists(home / "notes" / "user.md")


def test_what_agents_would_see_and_change_in_a_vault(home: Path, run: Run) -> None:
    for name in (".git/config", ".obsidian/app.json", "Reading list.md", "journal/may.md", "notes/.hidden.md"):
        (home / "vault" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "vault" / name).write_text("x")
    before = sorted(path.name for path in (home / "vault").rglob("*"))
    said = run("doctor", "--memory", "vault", "--readable", "**", "--readable", "!journal/**")
    assert (said.code, said.err) == (0, "")
    assert "Notes in vault\n" in said.out and "  ok   folder: agents may read and change its notes\n" in said.out
    assert "  ok   others' edits: files can" in said.out
    assert "  ok   hidden: .git, .obsidian, notes/.hidden.md; blocks neither see nor change them\n" in said.out
    assert "  ok   not shown: journal; blocks" in said.out
    assert "  ok   writable: all notes and attachments\n" in said.out
    assert "  ok   the agent's own notes: in agent/\n" in said.out
    assert sorted(path.name for path in (home / "vault").rglob("*")) == before
    report = json.loads(run("doctor", "--json", "--memory", "vault", "--read-only").out)
    assert {"writable": "nothing"}.items() <= {check["name"]: check["detail"] for check in report["memory"]}.items()
    assert run("doctor", "--memory", "nowhere").out.count("is not there yet") == 1
    (home / "file").write_text("x")
    said = run("doctor", "--memory", "file")
    assert said.code == 1 and "  FAIL folder: " in said.out and "is a file, not a folder" in said.out


def test_a_vault_that_may_only_be_read(run: Run) -> None:
    from trioagent.memory import examine_folder

    from ..batch.test_policies import as_plain_user

    with as_plain_user() as folder:
        found = examine_folder(folder)
    assert not found.writable and found.exchanges is None and found.folds_case is None
