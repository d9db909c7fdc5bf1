"""What a job is doing, for how long, and its deadline on working time.

A job's `Activity` is found by the code below it through a context variable, so that the model's retry loop can book
its waits without knowing of batches. Time spent waiting for a rate limit or for a retry is not working time: the
deadline stands still meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import trio

from ._errors import DeadlineExceededError

State = Literal["working", "rate", "model", "retrying", "sandbox"]
WAITING: frozenset[State] = frozenset({"rate", "retrying"})

_current: ContextVar[Activity | None] = ContextVar("trioagent_activity", default=None)


class Activity:
    """One job's state, the seconds it spent in each, and its deadline.

    Args:
        deadline: working seconds after which the job is cancelled.
        on_change: called with the old and the new state at each change ("" before the start and after the end).
    """

    def __init__(self, deadline: float = math.inf, on_change: Callable[[str, str], None] | None = None) -> None:
        self.deadline = deadline
        self.state: str = ""
        self.since = trio.current_time()
        self.seconds: dict[str, float] = {}
        self._scope = trio.CancelScope()
        self._on_change = on_change

    def switch(self, state: str) -> str:
        """Go over to *state*; returns the one before."""
        now, before = trio.current_time(), self.state
        if before:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self.since
        self.state, self.since = state, now
        left = self.deadline - self.working_seconds
        self._scope.deadline = math.inf if state in WAITING else now + left
        if self._on_change is not None:
            self._on_change(before, state)
        return before

    @property
    def working_seconds(self) -> float:
        """All seconds so far (up to the last change of state) but those spent waiting."""
        return sum(seconds for state, seconds in self.seconds.items() if state not in WAITING)

    @contextmanager
    def run(self) -> Iterator[None]:
        """Make this the activity of the code below.

        Raises:
            DeadlineExceededError: the deadline passed, and the code was cancelled.
        """
        token = _current.set(self)
        try:
            with self._scope:
                self.switch("working")
                yield
        finally:
            self._scope.deadline = math.inf
            self.switch("")
            _current.reset(token)
        if self._scope.cancelled_caught:
            raise DeadlineExceededError(self.deadline)


class doing:  # noqa: N801 - reads as a statement: with doing("sandbox")
    """Book the time of this block to *state*, if a job is watched."""

    __slots__ = ("_activity", "_before", "_state")

    def __init__(self, state: State) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._activity = _current.get()
        if self._activity is not None:
            self._before = self._activity.switch(self._state)

    def __exit__(self, *exc: object) -> None:
        if self._activity is not None:
            self._activity.switch(self._before)
