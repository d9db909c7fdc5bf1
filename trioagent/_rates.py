"""Rate arithmetic: requests per minute and requests in flight. Pure: nothing here waits or reads a clock."""

from __future__ import annotations

import math
from collections import deque

import attrs

_EVENLY_SPACED_BELOW = 60  # above it, rounding down changes the rate by less than 2 %


@attrs.define(eq=False)
class RateEntry:
    """An amount taken from a `RollingLimit`, counted until *until*."""

    time: float
    amount: float
    until: float
    counted: bool = True


class RollingLimit:
    """At most *limit* in any window of *period* seconds (a sliding-window log).

    Stricter than a token bucket, which allows up to twice its size within one period: a server that counts by fixed
    windows, sliding windows or a bucket refuses nothing that this allows.

    An amount above *limit* is taken from an empty window and counted for as many periods as it fills. A small
    limit that is not a whole number is spaced evenly: 0.5 is one every two periods, 1.5 one every 40 seconds of a
    minute.
    """

    def __init__(self, limit: float, period: float = 60.0) -> None:
        if limit < _EVENLY_SPACED_BELOW and limit != math.floor(limit):
            limit, period = 1.0, period / limit
        self.limit, self.period = limit, period
        self._taken: deque[RateEntry] = deque()
        self._sum = 0.0

    def earliest(self, now: float, amount: float) -> float:
        """When *amount* may be taken, if nothing else is taken until then; more than *limit* needs an empty window."""
        self._forget(now)
        free = self.limit - min(amount, self.limit)
        kept, when = self._sum, now
        for entry in self._taken:
            if kept <= free:
                break
            kept -= entry.amount
            when = max(when, entry.until)
        return when

    def take(self, now: float, amount: float) -> RateEntry:
        """Take *amount* now."""
        if self.limit == math.inf:
            return RateEntry(now, amount, now, counted=False)  # unlimited: keep no log
        entry = RateEntry(now, amount, self._until(now, amount))
        self._taken.append(entry)
        self._sum += amount
        return entry

    def settle(self, entry: RateEntry, amount: float) -> None:
        """Correct an entry to the *amount* actually used; an entry older than the window is left unchanged."""
        if entry.counted and self._taken and entry.time >= self._taken[0].time:
            self._sum += amount - entry.amount
            entry.amount, entry.until = amount, self._until(entry.time, amount)

    def changed(self, limit: float, period: float = 60.0) -> RollingLimit:
        """A copy with another limit that keeps the amounts taken."""
        other = RollingLimit(limit, period)
        if other.limit != math.inf:
            other._taken, other._sum = self._taken, self._sum
            for entry in other._taken:
                entry.until = other._until(entry.time, entry.amount)
        return other

    def used(self, now: float) -> float:
        """How much was taken in the window that ends at *now*; 0 if there is no limit."""
        self._forget(now)
        return self._sum

    def _until(self, time: float, amount: float) -> float:
        return time + self.period * max(1.0, amount / self.limit)

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0].until <= now:
            self._sum -= self._taken.popleft().amount
        if not self._taken:
            self._sum = 0.0  # rounding errors do not accumulate


class AdaptiveLimit:
    """Concurrency limit by additive increase, multiplicative decrease (AIMD; Chiu and Jain, 1989).

    It starts at its ceiling, since most servers never refuse. An overload multiplies it by `CUT`, once for all requests
    sent before the cut, since they saw the same overload; each success then adds ``1 / limit``, which is one more for
    every full round of requests. With a server that refuses more than *c* requests in flight,
    the limit falls to *c* in ``log(ceiling / c) / log(1 / CUT)`` rounds and stays between ``CUT * c`` and
    ``c + 1``.
    """

    CUT = 0.7

    def __init__(self, ceiling: int, floor: int = 1) -> None:
        self.ceiling, self.floor = ceiling, floor
        self.value: float = ceiling
        self._last_cut = -math.inf

    @property
    def tokens(self) -> int:
        return max(self.floor, math.floor(self.value))

    def set_ceiling(self, ceiling: int) -> None:
        """Change the ceiling; a limit that was at the ceiling moves with it."""
        self.value = float(ceiling) if self.value == self.ceiling else min(self.value, float(ceiling))
        self.ceiling = ceiling

    def on_success(self) -> None:
        self.value = min(float(self.ceiling), self.value + 1.0 / self.value)

    def on_overload(self, sent: float, now: float) -> None:
        """The server rejected a request that was sent at *sent* as overload."""
        if sent >= self._last_cut:
            self.value = max(float(self.floor), self.value * self.CUT)
            self._last_cut = now
