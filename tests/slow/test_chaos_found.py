"""What chaos runs have found, each in the small."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent import ChatMessage, InvalidInputError, open_runtime
from trioagent._runs._events import ResultEvent
from trioagent._runs._journal import JobRecord, Journal
from trioagent.batch import FAILURES, Job, read_rows, read_run_status, run_batch
from trioagent.testing import ScriptedModel

from .chaos import _ledger

pytestmark = pytest.mark.real


def test_a_batch_killed_before_its_journal_was_made_was_not_run(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "journal.db").close()
    (tmp_path / "journal.db").touch()
    assert _ledger.kept(tmp_path) == {}
    with pytest.raises(InvalidInputError, match="nothing was run there"):
        read_run_status(tmp_path)


async def test_a_job_that_fails_before_it_goes_on_leaves_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it saved in an earlier run stays, and what it needed to go on goes."""
    memory, stop = tmp_path / "m", trio.Event()

    def answer(messages: Sequence[ChatMessage]) -> str:
        if messages[-1].role == "tool":
            raise AssertionError("the run was to stop before this")
        return "<think>t</think><python>\ncreate_file('a.md', 'a')\n</python>"

    async def begin_and_be_late(self: Journal, job_id: str, digest: str) -> JobRecord:
        record = await begin(self, job_id, digest)
        await trio.sleep(0.2)
        return record

    async def commit_and_stop(self: Journal, *args: Any) -> None:
        if isinstance(args[2], ResultEvent):
            stop.set()
        await add_event(self, *args)

    begin, add_event = Journal.begin, Journal.add_event
    async with open_runtime(model=ScriptedModel(answer)) as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "add_event", commit_and_stop)
            first = [Job(id="late", memory=str(memory), messages=["Hello"])]
            report = await run_batch(first, runtime=runtime, run_dir=tmp_path / "run", stop=stop)
        assert (report.left, len(list((memory / ".trioagent").iterdir()))) == (1, 1)
        monkeypatch.setattr(Journal, "begin", begin_and_be_late)
        again = [Job(id="late", memory=str(memory), messages=["Hello"], deadline=0.05)]
        report = await run_batch(again, runtime=runtime, run_dir=tmp_path / "run")
    assert report.failed == 1
    assert [path.name for path in memory.iterdir()] == ["a.md"]


async def test_a_deadline_that_passes_while_a_job_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Journal.begin

    async def begin_on_a_busy_disk(self: Journal, job_id: str, digest: str) -> JobRecord:
        await trio.sleep(0.2)
        return await begin(self, job_id, digest)

    monkeypatch.setattr(Journal, "begin", begin_on_a_busy_disk)
    jobs = [Job(id="late", memory=str(tmp_path / "m"), messages=["Hello"], deadline=0.05)]
    async with open_runtime(model=ScriptedModel([])) as runtime:
        report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run")
    assert (report.failed, report.left, report.stopped) == (1, 0, "")
    (row,) = read_rows(tmp_path / "run" / FAILURES)
    assert row["error"]["type"] == "DeadlineExceededError"
