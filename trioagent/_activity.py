"""What a job is doing, for how long, and its deadline on working time.

The code of a job finds the job's `Activity` through a context variable, so that the model's retry loop can record
its waits without knowing about batches. Waits for a rate limit, a retry, an unavailable server or a review are not
working time: the deadline stands still while the job does nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import trio

from ._errors import DeadlineExceededError

State = Literal["working", "rate", "model", "retrying", "held", "review", "sandbox"]
WAITING: frozenset[State] = frozenset({"rate", "retrying", "held", "review"})
"""States that are not working time. A "held" job waits for an unavailable server, or for room on a disk."""


class Activity:
    """One job's state, the seconds it spent in each, and its deadline.

    A job may do several things at once, in tasks of its own. Then its state is the one that was entered last, and it
    counts as waiting only if all of them wait.

    Args:
        deadline: working seconds after which the job is cancelled.
        on_change: called with the old and the new state at each change ("" before the start and after the end).
        on_wait: called after each wait, with its state, its seconds, and its cause as text.
    """

    def __init__(
        self,
        deadline: float = math.inf,
        on_change: Callable[[str, str], None] | None = None,
        on_wait: Callable[[str, float, str], None] | None = None,
    ) -> None:
        self.deadline: float = deadline
        self.state: str = ""
        self.since: float = trio.current_time()
        self.seconds: dict[str, float] = {}
        self._scope = trio.CancelScope()
        self._on_change, self._on_wait = on_change, on_wait
        self._wait_began, self._cause = 0.0, ""  # of the present state, if it is a wait
        self._now: dict[doing, None] = {}  # the innermost active blocks, in the order of entering

    @property
    def working_seconds(self) -> float:
        """All seconds so far (up to the last change of state) except those spent waiting."""
        return sum(seconds for state, seconds in self.seconds.items() if state not in WAITING)

    @contextmanager
    def run(self) -> Iterator[None]:
        """Make this the activity of the code in the body.

        Raises:
            DeadlineExceededError: the deadline passed, and the code was cancelled. An error of its clean-up is the
                cause.
        """
        failure: BaseException | None = None
        try:
            with self._scope, doing("working", activity=self):
                yield
        except BaseException as error:
            # An error that replaced Cancelled left nothing for the scope to catch.
            if not self._scope.cancel_called or not isinstance(error, Exception):
                raise
            failure = error
        finally:
            self._scope.deadline = math.inf
        if self._scope.cancelled_caught or failure is not None:
            raise DeadlineExceededError(self.deadline) from failure

    def _entered(self, block: doing) -> None:
        outer = block._outer
        if outer is not None and outer._activity is self:
            outer._inside += 1
            self._now.pop(outer, None)
        self._now[block] = None
        self._update()

    def _left(self, block: doing) -> None:
        block._open = False
        self._now.pop(block, None)
        # After its last inner block a block is active again, unless it has ended itself (an inner task outlived it).
        while block._inside == 0 and (outer := block._outer) is not None and outer._activity is self:
            outer._inside -= 1
            if outer._open:
                if outer._inside == 0:
                    self._now[outer] = None
                break
            block = outer
        self._update()

    def _update(self) -> None:
        """Add the time since the last change, and switch to the job's present state."""
        if len(self._now) == 1:
            (block,) = self._now
            state: State | Literal[""] = block.state
        else:
            states = [block.state for block in self._now]
            working = [state for state in states if state not in WAITING]
            state = (working or states)[-1] if states else ""
        now, before = trio.current_time(), self.state
        if before:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self.since
        self.state, self.since = state, now
        if self.deadline != math.inf:
            self._scope.deadline = math.inf if state in WAITING else now + self.deadline - self.working_seconds
        if state == before:
            return
        if self._on_wait is not None:
            if before in WAITING:
                self._on_wait(before, now - self._wait_began, self._cause)
            if state in WAITING:
                self._wait_began, self._cause = now, next(reversed(self._now)).cause
        if self._on_change is not None:
            self._on_change(before, state)


class doing:  # noqa: N801 - reads as a statement: with doing("sandbox")
    """Count the time of this block as *state*, if a job is watched.

    Within another such block, in the same task or in a child task, it replaces the outer state meanwhile.

    Args:
        state: what is being done.
        activity: the job's; by default that of the code around this block.
        cause: of a wait: what it waits for, as text.
    """

    __slots__ = ("_activity", "_inside", "_open", "_outer", "cause", "state")

    def __init__(self, state: State, *, activity: Activity | None = None, cause: str = "") -> None:
        self.state: State = state
        self.cause = cause
        self._activity = activity
        self._outer: doing | None = None
        self._inside = 0  # inner blocks that have not ended
        self._open = True

    def __enter__(self) -> None:
        self._outer = _innermost.get()
        if self._activity is None:
            if self._outer is None:
                return
            self._activity = self._outer._activity
        _innermost.set(self)
        assert self._activity is not None
        self._activity._entered(self)

    def __exit__(self, *exc: object) -> None:
        if self._activity is not None:
            # Not by a token: a block in an async generator may end in another context than the one it began in.
            _innermost.set(self._outer)
            self._activity._left(self)


_innermost: ContextVar[doing | None] = ContextVar("trioagent_doing", default=None)


def belongs_to_no_job() -> None:
    """The code that follows in this context belongs to no job: its creator's job may run on another clock."""
    _innermost.set(None)
