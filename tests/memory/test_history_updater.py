"""Histories are filled behind the agents: a while after the last commit, one after the other, and never in the way."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from trioagent._errors import MemoryHistoryError
from trioagent.memory import HistoryUpdate, HistoryUpdater


class Store:
    """Counts the times at which it is filled."""

    def __init__(self, seconds: float = 0, error: Exception | None = None) -> None:
        self.seconds, self.error, self.times = seconds, error, list[float]()

    async def update(self) -> HistoryUpdate:
        self.times.append(trio.current_time())
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return HistoryUpdate()


async def test_two_seconds_after_the_last_commit(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    updater, store, other = HistoryUpdater(), Store(), Store()
    began = trio.current_time()
    nursery.start_soon(updater.run)
    updater.note_commit("a", store.update)
    await trio.sleep(1)
    updater.note_commit("a", store.update)
    updater.note_commit("b", other.update)
    await trio.sleep(10)
    assert [time - began for time in store.times] == [3]
    assert [time - began for time in other.times] == [3]
    updater.note_commit("a", store.update)
    await trio.sleep(10)
    assert [time - began for time in store.times] == [3, 13]


async def test_at_the_latest_a_minute_after_the_first(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    updater, store = HistoryUpdater(), Store()
    began = trio.current_time()
    nursery.start_soon(updater.run)
    for _ in range(100):
        updater.note_commit("a", store.update)
        await trio.sleep(1)
    assert [time - began for time in store.times] == [60]


async def test_an_error_is_reported_once_and_stops_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    updater, bad, good = HistoryUpdater(), Store(error=MemoryHistoryError("a", "git is not installed")), Store()
    nursery.start_soon(updater.run)
    with caplog.at_level(logging.WARNING, "trioagent"):
        for _ in range(3):
            updater.note_commit("a", bad.update)
            updater.note_commit("b", good.update)
            await trio.sleep(5)
    assert (len(bad.times), len(good.times)) == (3, 3)
    assert caplog.text.count("stay in its journal for now") == 1


async def test_in_the_end_what_is_left_for_five_seconds(autojump_clock: MockClock) -> None:
    updater, quick, endless = HistoryUpdater(), Store(), Store(seconds=1000)
    for path, store in (("a", quick), ("b", endless)):
        updater.note_commit(path, store.update)
    began = trio.current_time()
    await updater.finish()
    assert trio.current_time() - began == 5
    assert len(quick.times) == 1
    await updater.finish()  # what was cancelled is still waiting
    assert len(endless.times) == 2
    updater.leave_rest()
    began = trio.current_time()
    await updater.finish()
    assert trio.current_time() == began and len(endless.times) == 2
