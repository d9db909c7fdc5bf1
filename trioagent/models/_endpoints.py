"""State that open models share: a rate limiter for each address, and the health of each endpoint.

An *endpoint* is one model at one address with one key. Its health is its circuit breaker, plus the queue of waiters:

- An endpoint that refuses everything (a bad key, no money) is *closed*: requests raise `ModelRefusedError` without
  being sent, except for a probe from time to time.
- An endpoint whose server is unavailable is *held*, if a run waits for it (`Endpoints.hold_outages`): requests raise
  `EndpointHeldError`, and `EndpointHealth.turn` waits until it is available again, or until it is the caller's turn to
  probe it. Without such a run, a request fails when its retries are used up, and nothing is held.

A probe need not have its complete answer: that may take minutes, and all others wait for it. The server is available
again when the first text of the answer has arrived. If connections had failed before, it is also available when the
probe has not failed within a time in which the previous one had.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio
from trio_util import AsyncValue

from .._circuit_breaker import CircuitBreaker
from .._config import ModelConfig
from .._errors import (
    EndpointHeldError,
    ModelCertificateError,
    ModelConnectionError,
    ModelError,
    ModelRefusedError,
    ModelStatusError,
)
from .._server_behaviour import Change, CloseEndpoint, HoldEndpoint, Retry, action_of
from ._rate_limiter import RateLimiter

_LONGEST_WAIT = 600.0  # longest Retry-After of a closed endpoint that is obeyed before a probe

# First pause before an unavailable server is probed, and the share of the outage so far that is added. A connection
# that is refused costs the server nothing; an answer such as 503 does.
_PAUSES_OF_CONNECTIONS = (0.05, 0.01)
_PAUSES_OF_ANSWERS = (1.0, 0.08)
# A probe after failed connections counts as successful when it has lasted this long without failing: these seconds,
# plus twice the time that the last failure took.
_LASTS_SECONDS, _LASTS_TIMES = 0.05, 2.0


@attrs.frozen
class Available:
    """Requests are sent."""


@attrs.frozen
class Held:
    """The server is unavailable.

    Attributes:
        since: when that was detected, on Trio's clock.
        problem: the last failure, as text.
        probes: how many probes have failed since.
        next_probe: when the next one may be sent.
    """

    since: float
    problem: str
    probes: int
    next_probe: float


@attrs.frozen
class Closed:
    """The server refuses every request.

    Attributes:
        since: when that was detected, on Trio's clock.
        error: the last refusal.
        action: its meaning.
        probes, next_probe: as in `Held`.
    """

    since: float
    error: ModelError
    action: CloseEndpoint
    probes: int
    next_probe: float


EndpointState = Available | Held | Closed
_AVAILABLE = Available()


@attrs.define(eq=False)
class _TurnWaiter:
    """A task in `EndpointHealth.turn`; *woken* is set when it is to look at the state again."""

    gives_up: Callable[[EndpointState], bool] | None
    woken: trio.Event = attrs.field(factory=trio.Event)


class RequestOutcome:
    """The outcome of one request, which its sender reports to the endpoint's health.

    Attributes:
        is_probe: it finds out whether the server is back, so that its first text is worth reporting.
    """

    __slots__ = ("_answer", "_health", "_open", "_sent", "is_probe")

    def __init__(self, health: EndpointHealth, answer: object, probe: bool, sent: float) -> None:
        self._health = health
        self._answer = answer
        self.is_probe: bool = probe
        self._sent = sent
        self._open = True

    def answering(self) -> None:
        """The first text of an answer arrived. It may still fail, like any request."""
        if self.is_probe and self._open:
            self._health._on_sign_of_life(self)

    def succeeded(self) -> None:
        """An answer arrived, complete or as far as it was wanted."""
        if self._open:
            self._open = False
            self._health._on_success()

    def failed(self, error: ModelError) -> None:
        """It failed."""
        if self._open:
            self._open = False
            self._health._on_failure(error, self._answer, self.is_probe, self._sent)

    def close(self) -> None:
        """Nothing more will be reported. A probe without an outcome, because it was cancelled, says nothing."""
        if self._open:
            self._open = False
            if self.is_probe:
                self._health._on_probe_given_up()


class EndpointHealth:
    """The health of one endpoint: available, held or closed.

    Attributes:
        name: the model and its address, for people; never the key.
        state: the state, which can be awaited and shown.
        changes: adaptations for what the server does not accept in a request (see `AdaptRequest`).
    """

    def __init__(self, name: str, endpoints: Endpoints | None = None) -> None:
        self.name: str = name
        self.state: AsyncValue[EndpointState] = AsyncValue(_AVAILABLE)
        self.changes: frozenset[Change] = frozenset()
        self._endpoints = endpoints
        self._holders = 0
        self._breaker = CircuitBreaker()
        self._successes = 0
        self._failing: list[object] = []  # two answers, at most, whose requests failed since the last success
        self._waiters: dict[_TurnWaiter, None] = {}  # in order of arrival; the first is the next to probe
        self._prober: _TurnWaiter | None = None  # the one whose turn it is
        self._probe: RequestOutcome | None = None  # in flight
        self._lasts = math.inf  # seconds without failing after which the probe counts as successful
        self._took = 0.0  # seconds until the last request failed
        self._away_since: float | None = None  # start of the outage; None once a request has succeeded

    def __repr__(self) -> str:
        return f"<EndpointHealth of {self.name}: {self.state.value!r}>"

    @property
    def holds(self) -> bool:
        """Whether a run waits for the endpoint when it is unavailable (see `hold_outages`)."""
        return self._holders > 0 or (self._endpoints is not None and self._endpoints.holding)

    @contextmanager
    def hold_outages(self) -> Iterator[None]:
        """As `Endpoints.hold_outages`, for this endpoint alone."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    @property
    def successes(self) -> int:
        """How many requests have succeeded in all."""
        return self._successes

    def check(self) -> None:
        """Raise early what `admit` would raise."""
        if self._breaker.is_open and self._breaker.stops(trio.current_time(), ahead=self._prober is not None):
            raise self.held_error()

    def admit(self, answer: object, sent: float | None = None) -> RequestOutcome:
        """Admit a request for *answer* (any object that identifies it) now; *sent* is the present time, if known.

        Raises:
            EndpointHeldError, ModelRefusedError, ModelCertificateError: no request may be sent now.
        """
        if sent is None:
            sent = trio.current_time()
        if not self._breaker.is_open:
            return RequestOutcome(self, answer, False, sent)
        probe = self._breaker.admit(trio.current_time(), ahead=self._prober is not None)
        if probe is None:
            raise self.held_error()
        outcome = RequestOutcome(self, answer, probe, sent)
        if probe:
            self._probe = outcome
            self._wake_first()
        return outcome

    @asynccontextmanager
    async def turn(self, gives_up: Callable[[EndpointState], bool] | None = None) -> AsyncIterator[bool]:
        """Wait until the endpoint is available, or until it is the caller's turn to probe it.

        In the body, the first request to the endpoint is sent even if it is held or closed; its outcome counts
        for all. Leaving the block, by cancellation too, passes the turn on. Waiters take turns in order of arrival, and
        all continue at once when the endpoint is available.

        Args:
            gives_up: whether to stop waiting, given the endpoint's state.

        Returns:
            Whether the request may be sent; False if the caller gave up.
        """
        waiter = _TurnWaiter(gives_up)
        try:
            may_send = True
            if not isinstance(self.state.value, Available):
                self._waiters[waiter] = None
                try:
                    may_send = await self._wait_to_probe(waiter)
                finally:
                    del self._waiters[waiter]
                    self._wake_first()
            yield may_send
        finally:
            if self._prober is waiter:
                self._prober = None
                self._wake_first()

    async def _wait_to_probe(self, me: _TurnWaiter) -> bool:
        """Wait until it is the turn of *me*, or until another waiter's probe has lasted long enough.

        A waiter is an event, not a task: when the server is back, hundreds resume before the first request is sent.
        """
        while not isinstance(state := self.state.value, Available):
            if me.gives_up is not None and me.gives_up(state):
                return False
            wake = math.inf
            if next(iter(self._waiters)) is me:
                now = trio.current_time()
                if self._probe is not None:
                    wake = self._probe._sent + self._lasts
                    if now >= wake:
                        self._on_sign_of_life(self._probe)
                        return True
                elif self._prober is None and now >= (wake := state.next_probe):
                    self._prober = me
                    return True
            me.woken = trio.Event()
            if wake < math.inf:
                with trio.move_on_at(wake):
                    await me.woken.wait()
            else:
                await me.woken.wait()
        return True

    def _wake_first(self) -> None:
        """What the first waiter waits for has changed."""
        for first in self._waiters:
            first.woken.set()
            return

    def others_fail(self, answer: object) -> bool:
        """Whether requests for other answers have failed, and none has succeeded since."""
        return any(other is not answer for other in self._failing)

    def hold(self, error: ModelError, *, probe: bool = False) -> EndpointHeldError:
        """Hold the endpoint because of *error*; returns the error to raise to the caller."""
        unreachable = isinstance(error, ModelConnectionError)
        problem = error.problem if isinstance(error, ModelConnectionError) else str(error)
        now = trio.current_time()
        if self._away_since is None:
            self._away_since = now
        first, share = _PAUSES_OF_CONNECTIONS if unreachable else _PAUSES_OF_ANSWERS
        self._breaker.open(now, probe=probe, since=self._away_since, first=first, share=share)
        self._lasts = _LASTS_SECONDS + _LASTS_TIMES * self._took if unreachable else math.inf
        self._set(Held(self._away_since, problem, self._breaker.probes, self._breaker.next_probe))
        return EndpointHeldError(self.name, problem)

    def adapt(self, change: Change) -> None:
        """Remember that the server does not accept a part of the request."""
        self.changes |= {change}

    def held_error(self) -> ModelError:
        """The error for a request that is not sent now."""
        state = self.state.value
        if isinstance(state, Closed) and isinstance(state.error, ModelStatusError):
            return ModelRefusedError(*state.error.args)
        if isinstance(state, Closed) and isinstance(state.error, ModelCertificateError):
            return ModelCertificateError(*state.error.args)
        return EndpointHeldError(self.name, state.problem if isinstance(state, Held) else "it is being probed")

    def _on_success(self) -> None:
        self._successes += 1
        self._failing.clear()
        self._is_there()

    def _on_sign_of_life(self, probe: RequestOutcome) -> None:
        """*probe* has reached the server. The outage's duration is reset only when a request has succeeded."""
        probe.is_probe = False
        since = self._away_since
        self._is_there()
        self._away_since = since

    def _is_there(self) -> None:
        self._away_since = None
        self._breaker.succeeded()
        if self.state.value is not _AVAILABLE:
            self._probe = self._prober = None
            self._set(_AVAILABLE)

    def _on_failure(self, error: ModelError, answer: object, probe: bool, sent: float) -> None:
        if len(self._failing) < 2 and answer not in self._failing:
            self._failing.append(answer)
        now = trio.current_time()
        self._took = now - sent
        if probe:
            self._probe = self._prober = None  # its sender's turn is over
        match action_of(error):
            case CloseEndpoint() as action:
                if self._breaker.refused(now) or self.holds:
                    asked = error.retry_after if isinstance(error, ModelStatusError) else None
                    since = self.state.value.since if isinstance(self.state.value, Closed) else now
                    self._breaker.open(now, probe=probe, at_least=min(asked or 0.0, _LONGEST_WAIT))
                    self._away_since, self._lasts = None, math.inf
                    self._set(Closed(since, error, action, self._breaker.probes, self._breaker.next_probe))
            case Retry() | HoldEndpoint():
                if probe and isinstance(self.state.value, Closed):
                    state = self.state.value
                    self._breaker.open(now, probe=True)
                    self._set(attrs.evolve(state, probes=self._breaker.probes, next_probe=self._breaker.next_probe))
                elif probe:
                    self.hold(error, probe=True)
            case _:  # it refused this request, so it is available
                if probe:
                    self._is_there()

    def _on_probe_given_up(self) -> None:
        self._probe = None
        self._breaker.gave_up_probe()
        self._wake_first()

    def _set(self, state: EndpointState) -> None:
        if state == self.state.value:
            return
        self.state.value = state
        for number, waiter in enumerate(self._waiters):
            if number == 0 or isinstance(state, Available) or (waiter.gives_up is not None and waiter.gives_up(state)):
                waiter.woken.set()


class Endpoints:
    """The rate limiters and endpoints of all models that are open together, such as those of one runtime.

    Attributes:
        rate_limiters: by address.
    """

    def __init__(self) -> None:
        self.rate_limiters: dict[str, RateLimiter] = {}
        self._healths: dict[tuple[str, str, str | None], EndpointHealth] = {}
        self._holders = 0

    @property
    def healths(self) -> Mapping[tuple[str, int, str], EndpointHealth]:
        """All opened endpoints, by address, number of the key (in order of first use), and model."""
        keys = list(dict.fromkeys(key for _, _, key in self._healths))
        return {(url, keys.index(key), model): health for (url, model, key), health in self._healths.items()}

    @property
    def holding(self) -> bool:
        """Whether a run waits for unavailable endpoints."""
        return self._holders > 0

    @contextmanager
    def hold_outages(self) -> Iterator[None]:
        """In the body, users of these models wait for unavailable endpoints (see `EndpointHealth.turn`).

        A request to an unavailable server then raises `EndpointHeldError` where it would have failed finally, and one
        refusal suffices to close an endpoint.
        """
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    def rate_limiter(self, config: ModelConfig) -> RateLimiter:
        """The rate limiter of *config*'s address, with the limits of the first caller."""
        return self.rate_limiters.setdefault(config.base_url, RateLimiter(config.rate))

    def health(self, config: ModelConfig) -> EndpointHealth:
        """The health of *config*'s endpoint."""
        key = (config.base_url, config.model, config.api_key)
        if key not in self._healths:
            same = sum(other[:2] == key[:2] for other in self._healths)
            name = f"{config.model!r} at {config.base_url.partition('?')[0]}" + (f" (key {same + 1})" if same else "")
            self._healths[key] = EndpointHealth(name, self)
        return self._healths[key]

    def named(self, name: str) -> EndpointHealth:
        """The endpoint that an `EndpointHeldError` names.

        Raises:
            KeyError: there is none.
        """
        return {health.name: health for health in self._healths.values()}[name]
