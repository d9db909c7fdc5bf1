"""The shared object that paces all requests to one endpoint, whoever sends them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from .._activity import doing
from .._config import RateLimits
from .._errors import ModelError, ModelRefusedError, ModelStatusError
from .._pacing import OVERLOAD_STATUSES
from .._rates import AdaptiveLimit, Breaker, Entry, RollingLimit, refusal


@attrs.frozen(kw_only=True)
class PacerStatistics:
    """A snapshot: requests in flight, how many may be, what waits, and the last minute's use."""

    in_flight: int
    allowed_in_flight: int
    waiting: int
    requests_last_minute: int
    tokens_last_minute: int


class Slot:
    """The right to have one request in flight; tells the pacer what came of it."""

    def __init__(self, pacer: Pacer, sent: float, reserved: Entry) -> None:
        self._pacer, self._sent, self._reserved = pacer, sent, reserved
        self._failed = False

    def succeeded(self, tokens: int) -> None:
        """An answer came, and it used *tokens* in all. Nothing if the request has failed."""
        if not self._failed:
            self._pacer._settle(self._reserved, tokens)
            self._pacer._on_success()

    def failed(self, error: ModelError) -> ModelError:
        """No answer came; a refused request used no tokens.

        Returns:
            *error*, or a `ModelRefusedError` in its place if this was one refusal too many.
        """
        self._failed = True
        self._pacer._on_failure(error, self._sent, self._reserved)
        if isinstance(error, ModelStatusError) and self._pacer.refuses(error):
            return ModelRefusedError(*error.args).with_traceback(error.__traceback__)
        return error


class Pacer:
    """Requests and tokens per minute, requests in flight, and the breaker of one endpoint.

    First come, first served: a request that needs many tokens holds up those behind it, so it cannot starve.
    """

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits
        self._requests = RollingLimit(limits.requests_per_minute or math.inf)
        self._tokens = RollingLimit(limits.tokens_per_minute or math.inf)
        self._adaptive = AdaptiveLimit(limits.max_in_flight)
        self._in_flight = trio.CapacityLimiter(limits.max_in_flight)
        self._turn = trio.Lock()
        self._breaker = Breaker()
        self._hold_until = -math.inf
        self._changed = trio.Event()

    def statistics(self) -> PacerStatistics:
        now = trio.current_time()
        return PacerStatistics(
            in_flight=self._in_flight.borrowed_tokens,
            allowed_in_flight=self._adaptive.tokens,
            waiting=self._turn.statistics().tasks_waiting + self._in_flight.statistics().tasks_waiting,
            requests_last_minute=round(self._requests.used(now)),
            tokens_last_minute=round(self._tokens.used(now)),
        )

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[Slot]:
        """Wait until a request of about *tokens* may be sent, and hold the right to have it in flight.

        Raises:
            ModelRefusedError: the endpoint refuses everything, so this request was not sent.
        """
        place = object()
        with doing("rate"):
            await self._in_flight.acquire_on_behalf_of(place)
        try:
            with doing("rate"):
                reserved = await self._reserve(tokens)
            yield Slot(self, trio.current_time(), reserved)
        finally:
            self._in_flight.release_on_behalf_of(place)

    async def _reserve(self, tokens: int) -> Entry:
        async with self._turn:
            while True:
                if self._breaker.error is not None:
                    raise ModelRefusedError(self._breaker.error.status, self._breaker.error.detail)
                now = trio.current_time()
                when = max(self._requests.earliest(now, 1), self._tokens.earliest(now, tokens), self._hold_until)
                if when <= now:
                    self._requests.take(now, 1)
                    return self._tokens.take(now, tokens)
                with trio.move_on_at(when):
                    await self._changed.wait()

    def refuses(self, error: ModelStatusError) -> bool:
        """Is *error* what this endpoint says to everything?"""
        return self._breaker.error is not None and refusal(self._breaker.error) == refusal(error)

    def _settle(self, reserved: Entry, tokens: float) -> None:
        self._tokens.settle(reserved, tokens)
        self._wake()

    def _on_success(self) -> None:
        self._breaker.on_success()
        self._adaptive.on_success()
        self._in_flight.total_tokens = self._adaptive.tokens

    def _on_failure(self, error: ModelError, sent: float, reserved: Entry) -> None:
        self._breaker.on_failure(error)
        if not isinstance(error, ModelStatusError):
            return  # nobody knows what a broken answer used: the reservation stands
        self._settle(reserved, 0)
        if error.status in OVERLOAD_STATUSES:
            now = trio.current_time()
            self._adaptive.on_overload(sent, now)
            self._in_flight.total_tokens = self._adaptive.tokens
            if error.retry_after is not None:
                self._hold_until = max(self._hold_until, now + min(error.retry_after, self.limits.max_hold_seconds))
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
