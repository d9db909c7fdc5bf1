"""What cannot be run is said before anything is spent or written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .batch_support import write_jobs
from .conftest import Run

OFFLINE = ("--model", "offline-rules")
BATCH = ("batch", "jobs.jsonl", "--run-dir", "run")


def test_bad_rows_and_ids_that_occur_twice(run: Run, home: Path) -> None:
    good = {"id": "a", "memory": "m", "messages": ["hi"]}
    rows = [json.dumps(good), "{", json.dumps(good | {"id": "b", "messages": []}), json.dumps(good)]
    (home / "jobs.jsonl").write_text("\n".join(rows))
    done = run(*BATCH, *OFFLINE)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert lines[0] == "error: jobs.jsonl: 3 bad rows; nothing was run"
    assert lines[1].startswith("  line 2: is not JSON: ")
    assert lines[2].startswith("  line 3: ")
    assert lines[2].endswith("messages: must be a list of at least one text, not ()")
    assert lines[3] == "  line 4: has the id 'a' of line 1 again"
    assert [path.name for path in home.iterdir()] == ["jobs.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("batch",), "Missing argument 'JOBS'. (see `trioagent batch --help`)"),
        (("batch", "jobs.jsonl"), "Missing option '--run-dir'"),
        (("batch", "none.jsonl", "--run-dir", "run"), "none.jsonl: cannot be read: No such file or directory"),
        (("batch", ".", "--run-dir", "run"), ".: is not a plain file"),
        (("batch", "pipe", "--run-dir", "run"), "pipe: is not a plain file"),
        (("batch", "empty.jsonl", "--run-dir", "run"), "empty.jsonl: holds no job"),
        ((*BATCH, "--max-concurrent", "0"), "Invalid value for '--max-concurrent'"),
        ((*BATCH, "--deadline", "0"), "Invalid value for '--deadline'"),
        ((*BATCH, *OFFLINE, "--deadline", "nan"), "BatchConfig.deadline: must be a number above 0, not nan"),
        ((*BATCH, "--max-tokens-total", "many"), "Invalid value for '--max-tokens-total'"),
        ((*BATCH, "--model", "gpt-4o"), "'gpt-4o' is not known"),
        ((*BATCH, "--model", "openai:gpt-4o"), "the API key: 'openai:gpt-4o' needs one"),
        (("batch", "jobs.jsonl", "--run-dir", "jobs.jsonl"), "Invalid value for '--run-dir'"),
        (("batch", "jobs.jsonl", "--run-dir", ""), "is empty; name a folder"),
        (("sft", "generate", "--personas", "p", "--flow", "update", "--out", ""), "is empty; name a folder"),
        (("batch", "status"), "Missing argument 'DIR'"),
        (("batch", "status", "."), "run directory: '.' holds no journal.db: nothing was run there"),
        (("batch", "status", "none"), "run directory: 'none' holds no journal.db: nothing was run there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_unusable_commands(arguments: tuple[str, ...], words: str, run: Run, home: Path) -> None:
    write_jobs(home, 1)
    (home / "empty.jsonl").write_text("\n \n")
    os.mkfifo(home / "pipe")
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert not (home / "run").exists()


@pytest.mark.real
def test_a_run_under_other_settings(run: Run, home: Path) -> None:
    row = {"id": "a", "memory": "m", "messages": ["I live in Rome."]}
    (home / "jobs.jsonl").write_text(json.dumps(row))
    assert run(*BATCH, *OFFLINE).code == 0
    done = run(*BATCH, *OFFLINE, "--max-tool-turns", "3")
    assert (done.code, done.out) == (2, "")
    assert "max_tool_turns was 8 and is 3" in done.err
    assert run(*BATCH, *OFFLINE, "--max-tool-turns", "3", "--accept-changes").code == 0


def test_a_run_directory_that_is_no_run(run: Run, home: Path) -> None:
    write_jobs(home, 1)
    (home / "run").mkdir()
    (home / "run" / "journal.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    for arguments in (("batch", "status", "run"), (*BATCH, *OFFLINE), (*BATCH, *OFFLINE, "--dry-run")):
        done = run(*arguments)
        assert (done.code, done.out) == (1, "")
        assert "error: the batch's journal 'run/journal.db': " in done.err
        assert "not a database" in done.err
        assert len(done.err.splitlines()) == 1


def test_help_names_both_uses(run: Run) -> None:
    said = run("batch", "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: trioagent batch [OPTIONS] JOBS\n")
    assert "trioagent batch status DIR" in said.out
    assert "Exit codes: " in said.out
    said = run("batch", "status", "--help")
    assert said.out.startswith("Usage: trioagent batch status [OPTIONS] DIR\n")
