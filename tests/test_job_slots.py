"""Job slots: who comes first, and what cancellation leaves behind."""

from __future__ import annotations

import math
import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioagent._job_slots import JobSlot, JobSlots


async def test_jobs_that_began_earlier_come_first_even_if_all_ask_at_once() -> None:
    slots, ran = JobSlots(2), list[float]()

    async def one(order: float) -> None:
        slot = JobSlot(order)
        await slots.acquire(slot)
        ran.append(order)
        await wait_all_tasks_blocked()
        slots.release(slot)

    orders = [*map(float, range(20)), math.inf]
    random.Random(1).shuffle(orders)
    async with trio.open_nursery() as nursery:
        for order in orders:
            nursery.start_soon(one, order)
    assert [sorted(ran[at : at + 2]) for at in range(0, 20, 2)] == [[at, at + 1.0] for at in range(0, 20, 2)]
    assert ran[-1] == math.inf


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_wait_leaves_nothing_behind(granted: bool) -> None:
    slots, holder, waiter = JobSlots(1), JobSlot(0), JobSlot(1)
    await slots.acquire(holder)

    async def ask() -> None:
        await slots.acquire(waiter)
        slots.release(waiter)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if granted:
            slots.release(holder)  # in the same tick as the cancellation
        nursery.cancel_scope.cancel()
    slots.release(holder)
    assert not slots.holds(waiter)
    await slots.acquire(JobSlot(2))


async def test_while_more_are_held_than_there_are_none_is_granted(nursery: trio.Nursery) -> None:
    slots = JobSlots(3)
    held = [JobSlot(order) for order in range(3)]
    for slot in held:
        await slots.acquire(slot)
    slots.total = 1
    overdrawn = [slots.is_overdrawn]
    waiter = JobSlot(3)
    nursery.start_soon(slots.acquire, waiter)
    await wait_all_tasks_blocked()
    for slot in held[:2]:
        slots.release(slot)
        assert not slots.holds(waiter)
    overdrawn.append(slots.is_overdrawn)
    assert overdrawn == [True, False]
    slots.release(held[2])
    assert slots.holds(waiter)
    slots.total = math.inf
    await slots.acquire(JobSlot())


async def test_a_job_under_way_takes_the_slot_of_one_that_has_not_come_yet() -> None:
    slots, idle, jobs = JobSlots(2), JobSlot(), [JobSlot(0), JobSlot(1)]
    await slots.acquire(idle)
    slots.idle.add(idle)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(slots.acquire, job)
    assert [slots.holds(slot) for slot in (*jobs, idle)] == [True, True, False]
