"""What a job is doing while it does several things, in one task after another or at once."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from trioagent._activity import Activity, State, doing
from trioagent._errors import DeadlineExceededError


async def spend(state: State, begin: float, end: float) -> None:
    await trio.sleep(begin)
    with doing(state):
        await trio.sleep(end - begin)


async def test_nested_states_take_each_others_place(autojump_clock: MockClock) -> None:
    changes: list[tuple[str, str]] = []
    activity = Activity(on_change=lambda before, after: changes.append((before, after)))
    with activity.run():
        with doing("model"):
            await trio.sleep(1)
            with doing("rate"):
                await trio.sleep(10)
            await trio.sleep(1)
        await trio.sleep(4)
    assert activity.seconds == {"model": 2, "rate": 10, "working": 4}
    assert activity.working_seconds == 6
    assert changes == [
        ("", "working"),
        ("working", "model"),
        ("model", "rate"),
        ("rate", "model"),
        ("model", "working"),
        ("working", ""),
    ]


async def test_a_job_waits_only_if_all_of_it_waits(autojump_clock: MockClock) -> None:
    activity = Activity()
    with activity.run():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spend, "rate", 0, 20)
            nursery.start_soon(spend, "model", 10, 30)
            nursery.start_soon(spend, "retrying", 25, 50)
    assert activity.seconds == {"rate": 10, "model": 20, "retrying": 20, "working": 0}
    assert activity.working_seconds == 20


@pytest.mark.parametrize("order", [1, -1])
async def test_states_that_overlap_leave_no_wait_behind(order: int, autojump_clock: MockClock) -> None:
    activity = Activity(5)
    with pytest.raises(DeadlineExceededError), activity.run():
        async with trio.open_nursery() as nursery:
            times: list[tuple[State, float, float]] = [("rate", 0, 2), ("model", 1, 3), ("retrying", 2, 4)]
            for state, begin, end in times[::order]:
                nursery.start_soon(spend, state, begin, end)
        await trio.sleep(1000)
    assert trio.current_time() == pytest.approx(1 + 2 + 1 + 3)  # it waited in the first second and in the fourth


async def test_a_tasks_state_within_that_of_the_task_above(autojump_clock: MockClock) -> None:
    activity = Activity()
    with activity.run(), doing("sandbox"):
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spend, "model", 0, 5)
            nursery.start_soon(spend, "rate", 2, 8)
        await trio.sleep(1)
    assert activity.seconds == {"sandbox": 2, "model": 5, "rate": 3, "working": 0}


async def test_a_block_that_ends_before_the_one_within(autojump_clock: MockClock) -> None:
    activity = Activity()
    with activity.run():
        outer, inner = doing("model"), doing("rate")
        outer.__enter__()
        inner.__enter__()
        await trio.sleep(1)
        outer.__exit__(None, None, None)
        await trio.sleep(1)
        inner.__exit__(None, None, None)
        await trio.sleep(1)
    assert activity.seconds == {"model": 0, "rate": 2, "working": 1}


async def test_a_job_within_a_job_has_states_of_its_own(autojump_clock: MockClock) -> None:
    outer, inner = Activity(), Activity(2)
    with outer.run(), doing("sandbox"):
        with pytest.raises(DeadlineExceededError), inner.run():
            with doing("rate"):
                await trio.sleep(10)
            await trio.sleep(10)
        await trio.sleep(1)
    assert inner.seconds == {"rate": 10, "working": 2}
    assert outer.seconds == {"sandbox": 13, "working": 0}


async def test_without_a_job_nothing_is_booked() -> None:
    with doing("model"):
        await trio.lowlevel.checkpoint()


async def test_an_error_beside_the_deadline_is_its_cause(autojump_clock: MockClock) -> None:
    with pytest.raises(DeadlineExceededError) as caught, Activity(1).run():
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("clean-up")
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_error_before_the_deadline_is_itself(autojump_clock: MockClock) -> None:
    with pytest.raises(OSError, match="own"), Activity(math.inf).run():
        raise OSError("own")


async def test_each_wait_is_told_with_its_cause(autojump_clock: MockClock) -> None:
    told: list[tuple[str, float, str]] = []
    activity = Activity(on_wait=lambda *wait: told.append(wait))
    with activity.run():
        with doing("model"):
            await trio.sleep(1)
            with doing("retrying", cause="503"):
                await trio.sleep(2)
            with doing("held", cause="away"):
                with doing("held", cause="still away"):  # no other state: one wait
                    await trio.sleep(3)
                await trio.sleep(4)
        with doing("rate"):
            await trio.sleep(5)
    assert told == [("retrying", 2.0, "503"), ("held", 7.0, "away"), ("rate", 5.0, "")]
