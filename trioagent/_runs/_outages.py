"""Outages that a run waits for instead of failing its jobs: unavailable model servers, and full disks.

A waiting job gives up its slot to another one, and the wait does not count as working time. The wait for a server ends
when a request to it has succeeded, or when it is the waiter's turn to probe it (`EndpointHealth.turn`). The
wait for a disk ends after a growing pause, and then the failed operation is retried. When the run's patience is over,
the error goes to the job, which stays open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from typing import Literal

import attrs
import trio
from trio_util import AsyncValue

from .. import _span_names as names
from .._activity import doing
from .._errors import EndpointHeldError, ModelError, ModelProtocolError, ModelRefusedError, ModelStatusError
from .._server_behaviour import CloseEndpoint, action_of
from .._tracing import add_event
from ..models import Available, Closed, EndpointHealth, Endpoints, Held

_DISK: Mapping[str, str] = {names.HELD: "disk"}
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # before a full disk is retried


@attrs.frozen(kw_only=True)
class Outage:
    """An outage that a run waits for.

    Attributes:
        kind: "server" (it is unavailable), "refusal" (it refuses everything) or "disk" (it is full).
        name: the model and its address, or the folder or file.
        seconds: its duration so far.
        problem: the last failure, as text.
    """

    kind: Literal["server", "refusal", "disk"]
    name: str
    seconds: float
    problem: str


def health_of(model: object) -> EndpointHealth | None:
    """The health of a model's endpoint, if it has one: models of the program need not."""
    health = getattr(model, "health", None)
    return health if isinstance(health, EndpointHealth) else None


class Outages:
    """The outages of one run.

    Args:
        endpoints: of the models that the run's runtime opens.
        patience: how long to wait for an outage, in seconds from its beginning or the run's.

    Attributes:
        waiting: how many jobs wait for a server, or for room under their notes.
        last_error: the last request that failed, as text, and when; None if none has.
        give_up_place: a context manager in which a waiting job does not count towards the jobs that run at once.
    """

    def __init__(self, endpoints: Endpoints, patience: float) -> None:
        self.patience: float = patience
        self._began = trio.current_time()
        self.waiting: AsyncValue[int] = AsyncValue(0)
        self.last_error: tuple[float, str] | None = None
        self.give_up_place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        self._endpoints = endpoints
        self._others: dict[str, EndpointHealth] = {}
        self._full: dict[DiskWait, tuple[str, float, str]] = {}
        self._over = trio.Event()

    @contextmanager
    def watch(self, health: EndpointHealth) -> Iterator[None]:
        """Also wait for the endpoint of a model that the runtime did not open."""
        self._others[health.name] = health
        with health.hold_outages():
            yield

    def note(self, error: ModelError) -> None:
        """Record a failed request; `EndpointHeldError` is ignored, as nothing was sent."""
        if not isinstance(error, EndpointHeldError | ModelRefusedError):
            self.last_error = (trio.current_time(), str(error))

    def now(self) -> tuple[Outage, ...]:
        """The present outages."""
        now = trio.current_time()
        states = [
            (health.name, health.state.value) for health in (*self._endpoints.healths.values(), *self._others.values())
        ]
        held = [
            Outage(
                kind="server" if isinstance(state, Held) else "refusal",
                name=name,
                seconds=now - state.since,
                problem=_problem(state),
            )
            for name, state in states
            if not isinstance(state, Available)
        ]
        full = {name: (since, problem) for name, since, problem in self._full.values()}
        return (
            *held,
            *(
                Outage(kind="disk", name=name, seconds=now - since, problem=problem)
                for name, (since, problem) in full.items()
            ),
        )

    @asynccontextmanager
    async def turn(self, error: ModelError, health: EndpointHealth | None = None) -> AsyncIterator[None]:
        """Wait until the operation that failed with *error* may be retried in the body; its outcome counts for all.

        Args:
            health: of the endpoint that it came from, if that is known; an `EndpointHeldError` names its own.

        Raises:
            ModelError: *error*, if it is not one to wait for, or if the patience is over. For an answer that was
                malformed, the original error is raised then: it may be this request's fault alone.
        """
        health = self._endpoint(error, health)
        if health is None:
            raise error
        async with AsyncExitStack() as turn:
            if not isinstance(state := health.state.value, Available):
                if self.patience <= 0:  # no wait at all: a job that fails at once has not been held
                    raise _at_last(error)
                held: Mapping[str, str] = {names.HELD: "server" if isinstance(state, Held) else "refusal"}
                add_event(names.HOLD, held)
                with doing("held", cause=_problem(state)), self.one_more_waits():
                    async with self.give_up_place():
                        if not await self._take_turn(turn, health, error):
                            raise _at_last(error)
                add_event(names.RESUME, held)
            yield

    async def _take_turn(self, turn: AsyncExitStack, health: EndpointHealth, error: ModelError) -> bool:
        """Wait for the turn and enter it; returns whether it came before the patience was over.

        If the endpoint refuses everything, a request that was refused without being sent waits for one probe and no
        more; if the server has said how long to wait, within the patience, everybody waits as long as the patience.
        """
        state, now = health.state.value, trio.current_time()
        if isinstance(state, Available):
            return True
        # An earlier run may have found it closed or unavailable, which is no reason for this one to give up at once.
        since = now if isinstance(error, ModelRefusedError) else max(state.since, self._began)
        with trio.move_on_at(since + self.patience):
            return await turn.enter_async_context(health.turn(self._refused_again(health, error)))
        return False

    def end(self) -> None:
        """End all waits for a disk: the run should end."""
        self._over.set()

    @contextmanager
    def one_more_waits(self) -> Iterator[None]:
        """In the body one more job waits."""
        self.waiting.value += 1
        try:
            yield
        finally:
            self.waiting.value -= 1

    def _endpoint(self, error: ModelError, health: EndpointHealth | None) -> EndpointHealth | None:
        """The endpoint whose state decides when *error* may have passed."""
        if isinstance(error, EndpointHeldError):
            try:
                return self._others.get(error.endpoint) or self._endpoints.named(error.endpoint)
            except KeyError:
                return None
        if isinstance(error, ModelRefusedError) and action_of(error) != CloseEndpoint("model"):
            return health  # it was not sent; by now another request may have found the endpoint available
        return health if self._is_bearable(error) else None

    def _is_bearable(self, error: ModelError) -> bool:
        """Whether the server has said how long to wait, and that is within the patience."""
        asked = error.retry_after if isinstance(error, ModelStatusError) else None
        return asked is not None and asked <= self.patience and action_of(error) == CloseEndpoint("wait")

    def _refused_again(
        self, health: EndpointHealth, error: ModelError
    ) -> Callable[[Available | Held | Closed], bool] | None:
        """Whether a request after *error* has found the endpoint closed, by its state; None if that is waited for."""
        state = health.state.value
        if not (isinstance(error, ModelRefusedError) and isinstance(state, Closed)) or self._is_bearable(error):
            return None
        probes = state.probes
        return lambda now: isinstance(now, Closed) and now.probes > probes


def _at_last(error: ModelError) -> ModelError:
    """The error to raise when *error* is no longer waited for."""
    return error.__cause__ if isinstance(error.__cause__, ModelProtocolError) else error


class DiskWait:
    """The waits of one writer for room on a disk, since the first refusal."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    async def wait(self, name: str, problem: str) -> bool:
        """Wait for a while; returns whether to retry: not if the patience is over or the run should end.

        Args:
            name: the file or folder, for people.
            problem: the disk's error.
        """
        now = trio.current_time()
        if self._since is None:
            self._since = now
        left = self._since + self._outages.patience - now
        if left <= 0 or self._outages._over.is_set():
            self.over()
            return False
        self._outages._full[self] = (name, self._since, problem)
        add_event(names.HOLD, _DISK)
        try:
            with doing("held", cause=problem), trio.move_on_after(min(self._pause, left)):
                await self._outages._over.wait()
        except BaseException:
            self.over()
            raise
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        add_event(names.RESUME, _DISK)
        return True

    def over(self) -> None:
        """There is room, or nobody waits for it any more."""
        self._since, self._pause = None, _FIRST_PAUSE
        self._outages._full.pop(self, None)


def _problem(state: Held | Closed) -> str:
    return state.problem if isinstance(state, Held) else str(state.error)
