"""The state of a batch, for people and machines: counts, spending, and the slowest jobs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial

import attrs
import trio

from .._activity import Activity
from .._config import BatchConfig
from .._remote import NodeStatus
from ..models import RateLimiter
from ._budget import Budget
from ._outages import Outage, Outages
from ._waits import PendingWaits


@attrs.frozen(kw_only=True)
class Straggler:
    """A running job: its id, how long it has run, what it is doing and for how long (seconds)."""

    id: str
    seconds: float
    state: str
    state_seconds: float


@attrs.frozen(kw_only=True)
class EndpointUse:
    """The load of one model server: requests in flight, and the last minute's usage against its limits.

    Values without a limit are not counted: None.
    """

    url: str
    in_flight: int
    allowed_in_flight: int
    waiting: int
    requests_last_minute: int | None
    requests_per_minute: float | None
    tokens_last_minute: int | None
    tokens_per_minute: float | None

    @classmethod
    def of(cls, url: str, limiter: RateLimiter) -> EndpointUse:
        """The use of the address *url*, from its rate limiter."""
        now, limits = limiter.statistics(), limiter.limits
        return cls(
            url=url.partition("?")[0],  # a query may contain a key
            in_flight=now.in_flight,
            allowed_in_flight=now.allowed_in_flight,
            waiting=now.waiting,
            requests_last_minute=now.requests_last_minute if limits.requests_per_minute else None,
            requests_per_minute=limits.requests_per_minute,
            tokens_last_minute=now.tokens_last_minute if limits.tokens_per_minute else None,
            tokens_per_minute=limits.tokens_per_minute,
        )


@attrs.frozen(kw_only=True)
class Progress:
    """A snapshot of a running batch.

    Attributes:
        total: jobs in the input, or None if unknown.
        skipped: jobs that an earlier start had ended.
        done, failed: jobs that this start ended.
        left: jobs that this start began and left to be resumed.
        running: jobs that run now.
        queued: jobs that wait for their turn; None if *total* is.
        states: running jobs by state ("working", "rate", "model", "retrying", "held", "review",
            "sandbox").
        answers: of the model, in this start.
        tokens, cost: spent by this start.
        tokens_total, cost_total: spent by all starts of this directory, which a budget counts.
        max_tokens, max_cost: the budget.
        endpoints: model servers, with their load.
        outages: what jobs wait for: unavailable servers, full disks.
        last_error: the last failure of a request to a model, as text, retried or not; "" if there was none.
        last_error_seconds: how long ago that was.
        seconds: since this start.
        eta_seconds: until the end, at this start's mean rate; None if unknown.
        stragglers: the five longest-running jobs.
        stopping: why the run ends early (see `BatchReport.stopped`), or "".
        nodes: the workers of the run's cluster, including recently lost ones; none if it has no cluster.
    """

    total: int | None
    skipped: int
    done: int
    failed: int
    left: int
    running: int
    queued: int | None
    states: Mapping[str, int]
    answers: int
    tokens: int
    cost: float
    tokens_total: int
    cost_total: float
    max_tokens: int | None
    max_cost: float | None
    endpoints: tuple[EndpointUse, ...]
    outages: tuple[Outage, ...]
    last_error: str
    last_error_seconds: float | None
    seconds: float
    eta_seconds: float | None
    stragglers: tuple[Straggler, ...]
    stopping: str
    nodes: tuple[NodeStatus, ...] = ()


class ProgressTracker:
    """Counts a batch's jobs by state.

    Args:
        total: how many jobs there are, if known.
        limit: the most of them that this start takes.
        waits: collects the waits of the jobs.
    """

    def __init__(self, total: int | None, limit: int | None, waits: PendingWaits) -> None:
        self._total, self._limit = total, math.inf if limit is None else limit
        self.skipped = self.skipped_failed = self.done = self.failed = self.left = 0
        self.no_reply = self.skipped_no_reply = 0
        self.seconds: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._began = trio.current_time()
        self._waits = waits
        self._running: dict[str, tuple[float, Activity]] = {}
        self._cancel: Callable[[str], object] | None = None
        self._cut: Set[str] = frozenset()

    def activity(self, job_id: str, deadline: float) -> Activity:
        """A job starts."""
        activity = Activity(deadline, partial(self._changed, job_id), partial(self._waits.note, job_id))
        self._running[job_id] = (trio.current_time(), activity)
        return activity

    def ended(self, job_id: str) -> None:
        """A job ended."""
        _, activity = self._running.pop(job_id)
        self.seconds.update(activity.seconds)

    def cut_waits(self, cancel: Callable[[str], object], states: Set[str]) -> None:
        """From now on *cancel* every job that is in one of *states*, or enters it."""
        self._cancel, self._cut = cancel, states
        for job_id, (_, activity) in list(self._running.items()):
            if activity.state in states:
                cancel(job_id)

    def _changed(self, job_id: str, before: str, after: str) -> None:
        self._states[before] -= 1
        self._states[after] += 1
        if self._cancel is not None and after in self._cut:
            self._cancel(job_id)

    def snapshot(
        self,
        budget: Budget,
        config: BatchConfig,
        rate_limiters: Mapping[str, RateLimiter],
        outages: Outages,
        *,
        stopping: str,
        nodes: Sequence[NodeStatus] = (),
    ) -> Progress:
        now = trio.current_time()
        spent, total = budget.spent, budget.total
        slowest = sorted(self._running.items(), key=lambda item: item[1][0])[:5]
        return Progress(
            total=self._total,
            skipped=self.skipped,
            done=self.done,
            failed=self.failed,
            left=self.left,
            running=len(self._running),
            queued=self._queued(),
            states={state: count for state, count in sorted(self._states.items()) if state and count > 0},
            answers=budget.answers,
            tokens=spent.total_tokens,
            cost=spent.cost,
            tokens_total=total.total_tokens,
            cost_total=total.cost,
            max_tokens=config.max_tokens_total,
            max_cost=config.max_cost,
            endpoints=tuple(EndpointUse.of(url, limiter) for url, limiter in rate_limiters.items()),
            outages=outages.now(),
            last_error=outages.last_error[1] if outages.last_error else "",
            last_error_seconds=now - outages.last_error[0] if outages.last_error else None,
            seconds=now - self._began,
            eta_seconds=self._eta(now - self._began),
            stragglers=tuple(
                Straggler(id=job_id, seconds=now - began, state=activity.state, state_seconds=now - activity.since)
                for job_id, (began, activity) in slowest
            ),
            stopping=stopping,
            nodes=tuple(nodes),
        )

    def not_begun(self) -> int | None:
        """Jobs of the input that this start did not begin; None if their number is unknown."""
        if self._total is None:
            return None
        return max(0, self._total - self.skipped - self.done - self.failed - self.left)

    def _queued(self) -> int | None:
        if self._total is None:
            return None
        begun = self.done + self.failed + self.left + len(self._running)
        return max(0, int(min(self._total - self.skipped, self._limit)) - begun)

    def _eta(self, seconds: float) -> float | None:
        queued, ended = self._queued(), self.done + self.failed
        if queued is None or not ended:
            return None
        return (queued + len(self._running)) * seconds / ended
