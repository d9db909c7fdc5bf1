"""Killed at any instant and resumed: each accepted conversation once, attempts counted, no memory left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trioagent.batch import JournalReader, read_rows

from .sft_child import NAMES, RETRIES

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]


def run_child(run_dir: Path, write: int, when: str = "before") -> int:
    command = [sys.executable, "-m", "tests.sft.sft_child", str(run_dir), str(write), when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_killed_again_and_again(tmp_path: Path) -> None:
    """At a later write each time; then it is left alone."""
    run_dir, kills, left_behind = tmp_path / "run", 0, 0
    # Counted from the first job that begins, as what a run writes at its start has no part in this. (Counted from the
    # start, the instants fell before any job when starts came to journal their pins and totals.)
    for write, when in ((1, "after"), (3, "before"), (4, "after"), (6, "after")):
        if run_child(run_dir, write, when) == 0:
            break
        kills += 1
        left_behind += any((run_dir / "memories").glob("*")) if (run_dir / "memories").exists() else False
    assert kills >= 3
    assert left_behind >= 1
    assert run_child(run_dir, 0) == 0
    rows = list(read_rows(run_dir / "conversations.jsonl"))
    assert sorted(row["persona"]["name_surname"] for row in rows) == sorted(NAMES[:-1])
    assert [row["attempts"] for row in rows] == [1] * (len(NAMES) - 1)
    (rejected,) = read_rows(run_dir / "rejected.jsonl")
    assert (rejected["id"], rejected["attempts"]) == (f"persona-{len(NAMES) - 1}", 1 + RETRIES)
    assert len(rejected["verdicts"]) == 1 + RETRIES
    assert not (run_dir / "memories").exists()
    begun = Counter((tmp_path / "attempts.log").read_text().splitlines())
    assert begun.total() <= len(NAMES) + RETRIES + 2 * kills  # only what was under way at a kill was begun again
    with JournalReader(run_dir) as journal:
        assert journal.counts() == {"done": len(NAMES) - 1, "failed": 1}
        assert journal.spent().total_tokens >= sum(
            usage["prompt_tokens"] + usage["completion_tokens"]
            for row in [*rows, rejected]
            for usage in row["tokens"].values()
        )
