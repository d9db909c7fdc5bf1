"""What jobs have waited for is in the journal, and in their transcripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig, ModelConfig, RateLimits, RetryPolicy
from trioagent._runs import JournalReader
from trioagent._runs._browse import RunBrowser
from trioagent._runs._waits import PendingWaits, copy_waits, insert_waits
from trioagent.batch import BatchReport, Job, drop_failed, run_batch
from trioagent.runtime import open_runtime
from trioagent.server._transcript import WaitEntry, job_view
from trioagent.testing import Fault, ModelRequest, ModelServer, serve_model

pytestmark = pytest.mark.real

WRITES = "<think>t</think><python>\nok = create_file('a.md', 'x')\n</python>"
REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
Answer = Callable[[ModelRequest], Any]


def script(*answers: Any) -> Answer:
    left = list(answers)
    return lambda request: left.pop(0)


async def run(where: Path, answer: Answer, *, rate: RateLimits = RateLimits(), **config: Any) -> BatchReport:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, answer)
        retry = RetryPolicy(attempts=2, first_delay=0.01, max_delay=0.05)
        async with open_runtime(ModelConfig(base_url=server.base_url, model="m", retry=retry, rate=rate)) as runtime:
            job = Job(id="one", memory=str(where / "notes"), messages=("a",))
            report = await run_batch([job], runtime=runtime, run_dir=where / "run", config=BatchConfig(**config))
        nursery.cancel_scope.cancel()
    return report


def waits(where: Path) -> list[tuple[int, int, str, str]]:
    with RunBrowser(where / "run") as browser:
        return [(wait.attempt, wait.n, wait.state, wait.cause) for wait in browser.job("one").waits]


def kinds(where: Path) -> list[str]:
    """The transcript's entries; of waits their states."""
    with RunBrowser(where / "run") as browser:
        entries = job_view(browser.job("one")).entries
    return [entry.state if isinstance(entry, WaitEntry) else entry.kind for entry in entries]


async def test_attempts_and_outages_of_a_job_that_is_done(tmp_path: Path) -> None:
    answers = [Fault.status(500, "boom"), WRITES, Fault.status(503, "busy"), Fault.status(503, "busy"), REPLY]
    report = await run(tmp_path, script(*answers), outage_patience=60.0)
    assert report.done == 1
    found = waits(tmp_path)
    assert [wait[:3] for wait in found] == [(1, 0, "retrying"), (1, 2, "retrying"), (1, 2, "held")]
    assert ["500: boom" in found[0][3], "503: busy" in found[1][3], "503: busy" in found[2][3]] == [True] * 3
    # System prompt and message; each wait before the answer that it was for; the block's result.
    assert kinds(tmp_path) == ["said", "said", "retrying", "answer", "said", "retrying", "held", "answer"]


async def test_a_job_that_failed_keeps_its_last_wait(tmp_path: Path) -> None:
    answers = [WRITES, Fault.status(500, "boom"), Fault.status(500, "boom again")]
    report = await run(tmp_path, script(*answers), outage_patience=0)
    assert report.done == report.failed == 0 and report.left == 1
    assert [wait[:3] for wait in waits(tmp_path)] == [(1, 2, "retrying")]
    assert kinds(tmp_path) == ["answer", "result", "retrying"]


async def test_each_start_adds_its_waits(tmp_path: Path) -> None:
    for _ in range(2):
        await run(tmp_path, script(Fault.status(503), Fault.status(503)), outage_patience=0)
    await run(tmp_path, script(Fault.status(503), REPLY))
    assert [wait[:3] for wait in waits(tmp_path)] == [(1, 0, "retrying")] * 3


async def test_a_job_that_waits_for_nothing_costs_nothing(tmp_path: Path) -> None:
    """Not even a table."""
    await run(tmp_path, script(WRITES, REPLY))
    assert waits(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"meta", "jobs", "spent", "events", "kept"}


async def test_the_format_is_the_same_for_earlier_releases(tmp_path: Path) -> None:
    """They look at the version, and read the tables that they know."""
    await run(tmp_path, script(Fault.status(503), REPLY))
    with JournalReader(tmp_path / "run") as reader:
        assert reader.version == 2
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as database, database:
        assert database.execute("SELECT id, state, attempts FROM jobs").fetchall() == [("one", "done", 1)]
        assert len(database.execute("SELECT * FROM waits").fetchall()) == 1


async def test_what_is_dropped_of_a_job_is_gone_with_its_waits(tmp_path: Path) -> None:
    refusal = Fault.status(400, "no such parameter")
    report = await run(tmp_path, script(Fault.status(500, "a secret word"), WRITES, refusal, refusal, refusal))
    assert report.failed == 1
    assert waits(tmp_path)
    await trio.to_thread.run_sync(drop_failed, tmp_path / "run", ["one"])
    assert waits(tmp_path) == []
    assert b"a secret word" not in (tmp_path / "run" / "journal.db").read_bytes()


def test_what_is_kept_until_the_next_event_is_bounded() -> None:
    pending = PendingWaits()
    pending.note("one", "rate", 0.5, "")
    pending.note("one", "working", 10.0, "")
    assert not pending.take("one")
    for _ in range(1000):
        pending.note("one", "retrying", 2.0, "x" * 1000)
    found = list(pending.take("one"))
    assert len(found) == 100 and len(found[0].cause) == 300
    assert sum(wait.seconds for wait in found) == 2000.0
    assert not pending.take("one")
    assert not pending.take_all()


async def test_a_job_whose_beginning_could_not_be_written_has_no_waits(tmp_path: Path) -> None:
    """A full disk: the run waits for room before the job is in the journal."""
    await run(tmp_path, script(Fault.status(503), REPLY))
    pending = PendingWaits()
    for job_id in ("never begun", "one"):
        pending.note(job_id, "held", 1.0, "no space left")
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as database, database:
        for job_id, of_job in pending.take_all().items():
            insert_waits(database.cursor(), job_id, of_job)
    assert [wait[2] for wait in waits(tmp_path)] == ["retrying", "held"]


async def test_the_waits_of_another_journal_are_copied(tmp_path: Path) -> None:
    """As `merge_shards` does."""
    await run(tmp_path / "shard", script(Fault.status(503), REPLY))
    await run(tmp_path, script(WRITES, REPLY))
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as database, database:
        database.execute("ATTACH ? AS shard", (str(tmp_path / "shard" / "run" / "journal.db"),))
        copy_waits(database.cursor(), "shard")
    assert [wait[:3] for wait in waits(tmp_path)] == [(1, 0, "retrying")]
