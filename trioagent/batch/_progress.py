"""Where a batch stands, for people and machines: counts, spending, and who is slow at what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs
import trio

from .._activity import Activity


@attrs.frozen(kw_only=True)
class Straggler:
    """A running job: its id, how long it has run, what it is doing and for how long (seconds)."""

    id: str
    seconds: float
    state: str
    state_seconds: float


@attrs.frozen(kw_only=True)
class Progress:
    """A snapshot of a running batch.

    Attributes:
        total: jobs in the input, or None if it is not known beforehand.
        skipped: jobs that an earlier run had finished.
        done, failed: jobs that this run ended.
        states: running jobs by what they are doing ("working", "rate", "model", "retrying", "sandbox").
        tokens, cost: spent by this run.
        seconds: since this run began.
        eta_seconds: until the end, at this run's mean pace; None if nobody can say.
        stragglers: the five jobs that run longest.
        stopping: a request to stop is being followed.
    """

    total: int | None
    skipped: int
    done: int
    failed: int
    states: Mapping[str, int]
    tokens: int
    cost: float
    seconds: float
    eta_seconds: float | None
    stragglers: tuple[Straggler, ...]
    stopping: bool


class Watch:
    """Counts what a batch's jobs are doing."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.skipped = self.done = self.failed = self.left = 0
        self.seconds: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._began = trio.current_time()
        self._running: dict[str, tuple[float, Activity]] = {}

    def activity(self, job_id: str, deadline: float) -> Activity:
        """A job starts."""
        activity = Activity(deadline, self._changed)
        self._running[job_id] = (trio.current_time(), activity)
        return activity

    def ended(self, job_id: str) -> Activity | None:
        """A job ended; what it did, if it ever started."""
        _, activity = self._running.pop(job_id, (0.0, None))
        if activity is not None:
            self.seconds.update(activity.seconds)
        return activity

    def _changed(self, before: str, after: str) -> None:
        self._states[before] -= 1
        self._states[after] += 1

    def snapshot(self, *, tokens: int, cost: float, stopping: bool) -> Progress:
        now = trio.current_time()
        seconds = now - self._began
        ended = self.done + self.failed
        eta = None
        if self.total is not None and ended:
            eta = max(0, self.total - self.skipped - ended) * seconds / ended
        slowest = sorted(self._running.items(), key=lambda item: item[1][0])[:5]
        return Progress(
            total=self.total,
            skipped=self.skipped,
            done=self.done,
            failed=self.failed,
            states={state: count for state, count in sorted(self._states.items()) if state and count > 0},
            tokens=tokens,
            cost=cost,
            seconds=seconds,
            eta_seconds=eta,
            stragglers=tuple(
                Straggler(id=job_id, seconds=now - began, state=activity.state, state_seconds=now - activity.since)
                for job_id, (began, activity) in slowest
            ),
            stopping=stopping,
        )
