"""How long the event loop was blocked: a probe for benchmarks."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from .._exceptions import open_helper_nursery


@attrs.define
class LoopDelay:
    """The delays that a probe has seen since it began, or since `reset`.

    Attributes:
        worst: the longest delay, in seconds.
        total: all delays together, in seconds.
        rounds: how many there were.
    """

    worst: float = 0.0
    total: float = 0.0
    rounds: int = 0

    @property
    def mean(self) -> float:
        """Seconds; NaN before the first round."""
        return self.total / self.rounds if self.rounds else math.nan

    def book(self, seconds: float) -> None:
        """Add one delay."""
        self.worst = max(self.worst, seconds)
        self.total += seconds
        self.rounds += 1

    def reset(self) -> None:
        """Start again."""
        self.worst, self.total, self.rounds = 0.0, 0.0, 0


@asynccontextmanager
async def probe_loop_delay(interval: float = 0.001) -> AsyncIterator[LoopDelay]:
    """Measure, while the body runs, how late a task that sleeps *interval* seconds is woken.

    That is how long another task would have waited: for a long step of some task, for a thread that held the
    interpreter lock, for the machine. So it is for benchmarks: a test that depends on it fails on a busy machine.
    An exception of the body is raised unwrapped.

    Args:
        interval: seconds; the probe itself costs some 30 us each time.
    """
    delay = LoopDelay()
    async with open_helper_nursery() as nursery:
        nursery.start_soon(_measure, delay, interval)
        try:
            yield delay
        finally:
            nursery.cancel_scope.cancel()


async def _measure(delay: LoopDelay, interval: float) -> None:
    while True:
        began = time.perf_counter()
        try:
            await trio.sleep(interval)
        finally:  # also for the last one, which the end of the body cancels
            delay.book(max(0.0, time.perf_counter() - began - interval))
