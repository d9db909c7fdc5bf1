"""Job slots: how many jobs run at once, and in which order jobs that had given theirs up get one again.

A `trio.CapacityLimiter` serves in order of arrival. After an outage all jobs ask at once, and again after the next one,
so each would run for a while and none would end before all do. Here jobs that began earlier come first, so
that as few as possible are in progress at any time.
"""

from __future__ import annotations

import heapq
import itertools
import math

import attrs
import trio


@attrs.define(eq=False)
class JobSlot:
    """Permission for one job to run.

    Attributes:
        order: of the job's beginning; infinite until it has begun, so that jobs that have begun come first.
    """

    order: float = math.inf


@attrs.define(order=True)
class _SlotWaiter:
    order: float
    number: int
    slot: JobSlot = attrs.field(order=False, eq=False)
    granted: trio.Event = attrs.field(factory=trio.Event, order=False, eq=False)


class JobSlots:
    """A number of slots, or infinitely many.

    Attributes:
        idle: slots that are held for jobs that have not arrived yet.
    """

    def __init__(self, total: float) -> None:
        self.idle: set[JobSlot] = set()
        self._total = total
        self._held: set[JobSlot] = set()
        self._waiters: list[_SlotWaiter] = []
        self._numbers = itertools.count()

    @property
    def total(self) -> float:
        """How many there are; settable. While more are held, none is granted."""
        return self._total

    @total.setter
    def total(self, total: float) -> None:
        self._total = total
        self._grant()

    @property
    def is_overdrawn(self) -> bool:
        """Whether more are held than there are."""
        return len(self._held) > self._total

    def holds(self, slot: JobSlot | None) -> bool:
        """Whether *slot* is held now."""
        return slot in self._held

    async def acquire(self, slot: JobSlot) -> None:
        """Wait for *slot*; those of jobs that began earlier come first, even if they ask in the same tick only.

        A job that has begun takes the slot of one that has not arrived yet, if no other is free.
        """
        waiter = _SlotWaiter(slot.order, next(self._numbers), slot)
        heapq.heappush(self._waiters, waiter)
        try:
            await trio.lowlevel.checkpoint()  # by then all requests of this tick are queued
            self._grant()
            await waiter.granted.wait()
        except BaseException:
            if waiter.granted.is_set():
                self.release(slot)
            else:
                self._waiters.remove(waiter)
                heapq.heapify(self._waiters)
            raise

    def release(self, slot: JobSlot) -> None:
        """Release *slot*, if it is held."""
        self._held.discard(slot)
        self._grant()

    def _grant(self) -> None:
        while self._waiters:
            while len(self._held) >= self._total and self.idle and self._waiters[0].order < math.inf:
                self._held.discard(self.idle.pop())
            if len(self._held) >= self._total:
                return
            waiter = heapq.heappop(self._waiters)
            self._held.add(waiter.slot)
            waiter.granted.set()
