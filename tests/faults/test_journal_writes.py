"""Writes that share a transaction share its fate, and each of them hears of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioagent._runs import WorkEvent
from trioagent._runs._journal import FILE_NAME, open_journal
from trioagent.batch import JournalError, JournalReader, Spending

pytestmark = pytest.mark.real


async def test_a_write_outlives_the_cancelled_task_that_would_have_written_it(tmp_path: Path) -> None:
    """The first of a group is cancelled while it waits for a thread: the second, an answer paid for, is recorded."""
    async with open_journal(tmp_path) as journal:
        record = await journal.begin("job", "digest")
        threads = trio.to_thread.current_default_thread_limiter()
        hogs = [object() for _ in range(int(threads.total_tokens))]
        for hog in hogs:
            await threads.acquire_on_behalf_of(hog)
        async with trio.open_nursery() as nursery:
            first = trio.CancelScope()

            async def begin() -> None:
                with first:
                    await journal.begin("other", "digest")

            async with journal._lock:  # as if another group were being written
                nursery.start_soon(begin)
                await wait_all_tasks_blocked()
                nursery.start_soon(journal.add_event, record, 0, WorkEvent({"text": "paid for"}), Spending(1, 1, 1.0))
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            first.cancel()
            await wait_all_tasks_blocked()
            for hog in hogs:
                threads.release_on_behalf_of(hog)
        assert (await journal.begin("job", "digest")).events == (WorkEvent({"text": "paid for"}),)
        assert await journal.spent() == Spending(1, 1, 1.0)


async def test_every_write_of_a_group_that_failed_says_so(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    async with open_journal(tmp_path) as journal:
        record = await journal.begin("job", "digest")
        journal._connection.execute("PRAGMA max_page_count = 1")  # a disk that is full for SQLite

        async def add(number: int) -> None:
            try:
                await journal.add_event(record, number, WorkEvent({"text": "x" * 100_000}))
            except JournalError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(add, number)
        assert len(errors) == len(set(map(id, errors))) == 5
        assert "full" in str(errors[0])
        journal._connection.execute("PRAGMA max_page_count = 1000000")
        await journal.add_event(record, 0, WorkEvent({"text": "again"}))  # the disk has room again, and so it goes on
    with JournalReader(tmp_path) as reader:
        assert reader._connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = '{'",
        "UPDATE events SET body = NULL",
        "UPDATE events SET kind = 'answer'",
        "UPDATE events SET kind = 'answer', step = '{}', raw = '5', usage = '{}'",
        "UPDATE events SET kind = 'result', body = NULL, result = '{}'",
        "UPDATE events SET kind = NULL",
        "UPDATE events SET usage = '{}'",
        "UPDATE events SET body = ''",
        "UPDATE events SET body = x'ff'",
        "UPDATE events SET body = '[1]'",
        "UPDATE events SET body = '9' || hex(zeroblob(3000))",
        "UPDATE events SET body = replace(hex(zeroblob(50000)), '0', '[')",
    ],
)
async def test_a_damaged_event_is_a_journal_error(tmp_path: Path, damage: str) -> None:
    async with open_journal(tmp_path) as journal:
        record = await journal.begin("job", "digest")
        await journal.add_event(record, 0, WorkEvent({"text": "x"}))
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    async with open_journal(tmp_path) as journal:
        with pytest.raises(JournalError):
            await journal.begin("job", "digest")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta",
        "DROP TABLE meta",
        "DROP TABLE jobs",
        "DELETE FROM spent",
        "UPDATE spent SET cost = 'a lot'",
        "UPDATE jobs SET outcome = '{', state = 'done'",
        "UPDATE jobs SET outcome = NULL, state = 'done'",
        "UPDATE jobs SET outcome = '[]', state = 'done'",
    ],
)
async def test_a_damaged_journal_is_a_journal_error(tmp_path: Path, damage: str) -> None:
    async with open_journal(tmp_path) as journal:
        await journal.begin("job", "digest")
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(JournalError):
        async with open_journal(tmp_path) as journal:
            await journal.look_up(["job"])
            await journal.spent()
            with JournalReader(tmp_path) as reader:
                list(reader.outcomes("done"))


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_no_thread_for_a_group(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was written, so nobody is told that it was; the next group is written again."""
    refused = []

    async def refuse(*args: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async with open_journal(tmp_path) as journal:
        keys = ["a", "b", "c"]
        for key in keys:
            await journal.begin(key, "digest")

        async def finish(key: str) -> None:
            try:
                await journal.finish(key, "done", {})
            except JournalError as error:
                refused.append((key, error.__cause__))

        with monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", refuse)
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(finish, key)
        assert sorted(refused) == [(key, error) for key in keys]
        with JournalReader(tmp_path) as reader:
            assert reader.counts() == {"running": 3}
        await finish("a")
        with JournalReader(tmp_path) as reader:
            assert reader.counts() == {"running": 2, "done": 1}


async def test_a_write_of_a_group_that_raises_what_nobody_expects(tmp_path: Path) -> None:
    errors: list[BaseException | None] = []
    async with open_journal(tmp_path) as journal:

        def broken(cursor: sqlite3.Cursor) -> None:
            raise LookupError("a bug")

        async def write(action: Any) -> None:
            try:
                await journal._write(action)
            except JournalError as error:
                errors.append(error.__cause__)

        async with trio.open_nursery() as nursery, journal._lock:
            for action in (lambda cursor: 1, broken, lambda cursor: 2):
                nursery.start_soon(write, action)
            await wait_all_tasks_blocked()
        assert [type(error) for error in errors] == [LookupError] * 3


async def test_a_write_that_nobody_waits_for_any_more_is_not_written(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        record = await journal.begin("job", "digest")
        async with journal._lock:
            with trio.move_on_after(0):
                await journal.add_event(record, 0, WorkEvent({"cancelled": True}))
        await journal.add_event(record, 0, WorkEvent({"cancelled": False}))
        assert (await journal.begin("job", "digest")).events == (WorkEvent({"cancelled": False}),)
