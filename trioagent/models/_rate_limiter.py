"""Rate limiter: the requests and tokens per minute, and the requests in flight, of all models at one address."""

from __future__ import annotations

import math

import attrs
import trio
from trio_util import RepeatedEvent

from .._activity import doing
from .._config import RateLimits
from .._errors import ModelError, ModelStatusError
from .._rates import AdaptiveLimit, RateEntry, RollingLimit
from .._server_behaviour import OVERLOAD_STATUSES


@attrs.frozen(kw_only=True)
class RateLimiterStatistics:
    """A snapshot: requests in flight and allowed, tasks waiting, and usage in the last minute."""

    in_flight: int
    allowed_in_flight: int
    waiting: int
    requests_last_minute: int
    tokens_last_minute: int


class Slot:
    """Permission to have one request of about *tokens* in flight within its block; made by `RateLimiter.slot`.

    The holder reports the request's outcome with `succeeded` or `failed`.
    """

    __slots__ = ("_failed", "_limiter", "_reserved", "_tokens")

    def __init__(self, limiter: RateLimiter, tokens: int) -> None:
        self._limiter, self._tokens = limiter, tokens
        self._failed = False

    async def __aenter__(self) -> Slot:
        """Wait until the request may be sent; no checkpoint if it may be sent now."""
        await self._limiter._enter(self)
        try:
            self._reserved = await self._limiter._reserve(self._tokens)
        except BaseException:
            self._limiter._leave(self)
            raise
        return self

    @property
    def sent(self) -> float:
        """When the request could be sent (``trio.current_time()``)."""
        return self._reserved.time

    async def __aexit__(self, *exc: object) -> None:
        self._limiter._leave(self)

    def succeeded(self, tokens: int) -> None:
        """Report an answer that used *tokens* in all; ignored if the request has failed."""
        if not self._failed:
            self._limiter._settle(self._reserved, tokens)
            self._limiter._on_success()

    def failed(self, error: ModelError) -> None:
        """Report a failure; a rejected request used no tokens."""
        self._failed = True
        self._limiter._on_failure(error, self._reserved)

    def unused(self) -> None:
        """Report that no request was sent."""
        self._failed = True
        self._limiter._settle(self._reserved, 0)


class RateLimiter:
    """Requests and tokens per minute, and requests in flight, at one address.

    First come, first served: a request that needs many tokens delays those behind it, so that it cannot starve.
    """

    def __init__(self, limits: RateLimits) -> None:
        self.limits: RateLimits = limits
        self._requests = RollingLimit(limits.requests_per_minute or math.inf)
        self._tokens = RollingLimit(limits.tokens_per_minute or math.inf)
        self._adaptive = AdaptiveLimit(limits.max_in_flight)
        self._in_flight = trio.CapacityLimiter(limits.max_in_flight)
        self._allowed: float = limits.max_in_flight
        self._turn = trio.Lock()
        self._hold_until = -math.inf
        self._changed = RepeatedEvent()

    def statistics(self) -> RateLimiterStatistics:
        now = trio.current_time()
        return RateLimiterStatistics(
            in_flight=self._in_flight.borrowed_tokens,
            allowed_in_flight=self._adaptive.tokens,
            waiting=self._turn.statistics().tasks_waiting + self._in_flight.statistics().tasks_waiting,
            requests_last_minute=round(self._requests.used(now)),
            tokens_last_minute=round(self._tokens.used(now)),
        )

    def change(self, limits: RateLimits) -> None:
        """Apply other limits from now on; the usage of the last minute still counts."""
        self.limits = limits
        self._requests = self._requests.changed(limits.requests_per_minute or math.inf)
        self._tokens = self._tokens.changed(limits.tokens_per_minute or math.inf)
        self._adaptive.set_ceiling(limits.max_in_flight)
        self._allow()
        self._changed.set()

    def slot(self, tokens: int) -> Slot:
        """A context manager that waits until a request of about *tokens* may be sent and counts it as in flight."""
        return Slot(self, tokens)

    async def _enter(self, slot: Slot) -> None:
        try:
            self._in_flight.acquire_on_behalf_of_nowait(slot)
        except trio.WouldBlock:
            with doing("rate"):
                await self._in_flight.acquire_on_behalf_of(slot)

    def _leave(self, slot: Slot) -> None:
        self._in_flight.release_on_behalf_of(slot)

    async def _reserve(self, tokens: int) -> RateEntry:
        if not self._turn.locked():  # no earlier request is waiting
            reserved = self._take(tokens)
            if isinstance(reserved, RateEntry):
                return reserved
        with doing("rate"):
            async with self._turn:
                while not isinstance(reserved := self._take(tokens), RateEntry):
                    with trio.move_on_at(reserved):
                        await self._changed.wait()
                return reserved

    def _take(self, tokens: int) -> RateEntry | float:
        """Reserve now if possible; else return the earliest time at which it may become possible."""
        now = trio.current_time()
        when = max(self._requests.earliest(now, 1), self._tokens.earliest(now, tokens), self._hold_until)
        if when > now:
            return when
        self._requests.take(now, 1)
        return self._tokens.take(now, tokens)

    def _settle(self, reserved: RateEntry, tokens: float) -> None:
        self._tokens.settle(reserved, tokens)
        if self._turn.locked():  # by a task that waits for a change
            self._changed.set()

    def _on_success(self) -> None:
        self._adaptive.on_success()
        self._allow()

    def _on_failure(self, error: ModelError, reserved: RateEntry) -> None:
        if not isinstance(error, ModelStatusError):
            return  # the usage of a broken answer is unknown: the reservation stands
        self._settle(reserved, 0)
        if error.status in OVERLOAD_STATUSES:
            now = trio.current_time()
            self._adaptive.on_overload(reserved.time, now)
            self._allow()
            if error.retry_after is not None:
                self._hold_until = max(self._hold_until, now + min(error.retry_after, self.limits.max_hold_seconds))
            self._changed.set()

    def _allow(self) -> None:
        tokens = self._adaptive.tokens
        if self._allowed != tokens:
            self._allowed = self._in_flight.total_tokens = tokens
