"""What chaos runs have found, each in the small."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.journal_writes import watched_connect
from trioagent import BatchConfig, ChatMessage, InvalidInputError, open_runtime
from trioagent.batch import FAILURES, Job, read_rows, read_run_status, run_batch
from trioagent.memory import Memory
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

from .chaos import _ledger

pytestmark = pytest.mark.real


def test_a_batch_killed_before_its_journal_was_made_was_not_run(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "journal.db").close()
    (tmp_path / "journal.db").touch()
    assert _ledger.kept(tmp_path) == {}
    with pytest.raises(InvalidInputError, match="nothing was run there"):
        read_run_status(tmp_path)


class StopsAtResult:
    """Has a note written, asks for the run's stop when it is told the result, and says no more."""

    name = "stops"

    def __init__(self, stop: trio.Event) -> None:
        self._stop = stop
        self._inner = ScriptedModel(lambda messages: "<think>t</think><python>\ncreate_file('a.md', 'a')\n</python>")

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        if messages[-1].role == "tool":
            self._stop.set()
            await trio.sleep_forever()
        async with self._inner.answer(messages) as parts:
            yield parts


async def hold(memory: Path, *, task_status: trio.TaskStatus[None]) -> None:
    """Work on the memory for a while, so that nobody else can."""
    async with Memory(memory).lease():
        task_status.started()
        await trio.sleep(0.2)


async def test_a_job_that_fails_before_it_goes_on_leaves_no_receipt(tmp_path: Path) -> None:
    """What it saved in an earlier run stays, and what it needed to resume is removed."""
    memory, stop = tmp_path / "m", trio.Event()
    async with open_runtime(model=StopsAtResult(stop)) as runtime, trio.open_nursery() as nursery:
        first = [Job(id="late", memory=str(memory), messages=["Hello"])]
        quick = BatchConfig(grace_seconds=0)
        report = await run_batch(first, runtime=runtime, run_dir=tmp_path / "run", config=quick, stop=stop)
        assert (report.left, len(list((memory / ".trioagent").iterdir()))) == (1, 1)
        await nursery.start(hold, memory)
        again = [Job(id="late", memory=str(memory), messages=["Hello"], deadline=0.05)]
        report = await run_batch(again, runtime=runtime, run_dir=tmp_path / "run")
    assert report.failed == 1
    assert [path.name for path in memory.iterdir()] == ["a.md"]


async def test_a_deadline_that_passes_while_a_job_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_busy_disk(sql: str, values: object) -> None:
        if "FROM jobs WHERE id = ?" in sql:
            time.sleep(0.2)

    monkeypatch.setattr(sqlite3, "connect", watched_connect(on_a_busy_disk, lambda sql, values: None))
    jobs = [Job(id="late", memory=str(tmp_path / "m"), messages=["Hello"], deadline=0.05)]
    async with open_runtime(model=ScriptedModel([])) as runtime:
        report = await run_batch(jobs, runtime=runtime, run_dir=tmp_path / "run")
    assert (report.failed, report.left, report.stopped) == (1, 0, "")
    (row,) = read_rows(tmp_path / "run" / FAILURES)
    assert row["error"]["type"] == "DeadlineExceededError"
