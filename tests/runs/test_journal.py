"""The journal's edges: who may open it when, and what a reader sees and leaves."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trioagent._errors import InvalidInputError
from trioagent._runs import WorkEvent
from trioagent._runs._journal import FILE_NAME, open_journal
from trioagent._runs._lock import LOCK_NAME
from trioagent.batch import JournalError, JournalReader, Spending, is_running, read_run_status

pytestmark = pytest.mark.real


async def test_spending_is_added_up_over_runs(tmp_path: Path) -> None:
    for run in range(2):
        async with open_journal(tmp_path) as journal:
            record = await journal.begin("a", "digest")
            for n in range(3):
                await journal.add_event(record, 3 * run + n, WorkEvent({}), Spending(10, n, 0.125))
            await journal.add_event(record, 100 + run, WorkEvent({}))
            assert await journal.spent() == Spending(30 * (run + 1), 3 * (run + 1), 0.375 * (run + 1))
    with JournalReader(tmp_path) as reader:
        assert reader.spent() == Spending(60, 6, 0.75)
        assert [known and known.state for known in reader.look_up(["a", "b"])] == ["running", None]


async def test_what_follows_an_outcome_comes_when_it_is_durable(tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> None:
        with JournalReader(tmp_path) as reader:
            seen.extend(known.state for known in reader.look_up(["a"]) if known is not None)
        raise ZeroDivisionError

    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        await journal.begin("b", "digest")

        async def finish_other() -> None:
            await journal.finish("b", "done", {}, afterwards=lambda: seen.append("b"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish_other)
            with pytest.raises(ZeroDivisionError):
                await journal.finish("a", "done", {"x": 1}, afterwards=look)
        assert await journal.counts() == {"done": 2, "no_reply": 0}
    assert sorted(seen) == ["b", "done"]


async def test_nothing_follows_an_outcome_that_was_not_written(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        with pytest.raises(JournalError):
            await journal.finish("a", "gone", {}, afterwards=pytest.fail)  # type: ignore[arg-type]  # refused by SQLite


async def test_a_reader_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        with JournalReader(tmp_path) as reader:
            assert reader.counts() == {"running": 1}
    before = sorted(tmp_path.iterdir())
    assert read_run_status(tmp_path).counts == {"running": 1}
    assert sorted(tmp_path.iterdir()) == before


async def test_looking_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    """Somebody who asks whether it runs holds the lock for a moment."""
    lock = os.open(tmp_path / LOCK_NAME, os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_SH)

    async def let_go() -> None:
        await trio.sleep(0.015)
        os.close(lock)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        async with open_journal(tmp_path):
            assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """It may outlive the run, and it may outlive the process that ran it."""
    program = f"""
import os, pathlib, signal, sys, time
from trioagent._runs._lock import take_run_lock
lock = take_run_lock(pathlib.Path({str(tmp_path)!r}))
if not os.fork():
    print(os.getpid(), flush=True)
    time.sleep(60)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert is_running(tmp_path)
            parent.kill()
            parent.wait()
            assert not is_running(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


async def test_a_lock_that_a_child_shares_is_released_all_the_same(tmp_path: Path) -> None:
    """As after a fork that Python knows nothing of."""
    async with open_journal(tmp_path):
        descriptors = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        (own,) = [entry for entry in descriptors if os.readlink(entry) == str(tmp_path / LOCK_NAME)]
        shared = os.dup(int(own.name))
    assert not is_running(tmp_path)
    os.close(shared)


async def test_another_format(tmp_path: Path) -> None:
    async with open_journal(tmp_path):
        pass
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="format 99, and this trioagent reads formats 1 and 2"):
        JournalReader(tmp_path)
    with pytest.raises(JournalError, match="format 99"):
        async with open_journal(tmp_path):
            pass


async def test_another_kind_of_jobs(tmp_path: Path) -> None:
    async with open_journal(tmp_path, "letters"):
        pass
    with pytest.raises(JournalError, match="holds letters, not parcels; use another run directory"):
        async with open_journal(tmp_path, "parcels"):
            pass
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:  # as journals once were
        connection.execute("DELETE FROM meta WHERE key = 'holds'")
    connection.close()
    async with open_journal(tmp_path, "parcels"):
        pass


def test_nothing_was_run_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing was run there"):
        JournalReader(tmp_path)
    assert not is_running(tmp_path)
    assert not is_running(tmp_path / "none" / "at all")
    assert list(tmp_path.iterdir()) == []
