"""File descriptors: how many agents fit, and a budget, so that a task without a descriptor waits instead of failing.

The budget of a trio run counts what grows with the number of agents: connections to model servers, leases of memories
and children that run blocks. The other open descriptors of the process are counted from time to time. When descriptors
are short, idle connections are closed first; then tasks wait, in order, children before the others. A task that waits
while it holds descriptors itself (a block's host tool that runs another agent) could deadlock: when no other holder
would release any, it continues over the budget, into the reserve.
"""

from __future__ import annotations

import errno
import importlib
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

import attrs
import trio

resource: Any = None
with suppress(ImportError):  # Windows
    resource = importlib.import_module("resource")

T = TypeVar("T")

BLOCK = 6
"""Descriptors of one running block: its socket, its pidfd, its layer, and files read and written at its commit."""
RESERVE = 128
"""For everything that does not grow with the agents: the event loop, the sandbox, the journal, name look-ups."""


@attrs.frozen(kw_only=True)
class Concurrency:
    """How many episodes run at once, and how many idle connections each model may keep.

    Attributes:
        descriptors: how many file descriptors these may need at most.
    """

    max_concurrent: int
    max_idle: int
    descriptors: int


def fit_to_descriptors(asked: int, limit: float, *, blocks: int, models: int = 1) -> Concurrency:
    """The most of *asked* episodes that can never run out of file descriptors.

    An episode holds one: the connection of its request, or its memory's folder. An unused connection is kept
    for the next request, which saves a handshake; when descriptors are short, two thirds of them go to episodes and
    one third to idle connections.

    Args:
        asked: how many concurrent episodes are wanted.
        limit: of the process (``RLIMIT_NOFILE``); may be infinite.
        blocks: concurrent blocks (``SandboxLimits.parallel``).
        models: number of different models, each with connections of its own.
    """
    fixed = RESERVE + BLOCK * blocks
    wanted = fixed + asked * (1 + models)
    if wanted <= limit:
        return Concurrency(max_concurrent=asked, max_idle=asked, descriptors=wanted)
    room = max(0, math.floor(limit) - fixed)
    episodes = max(1, min(asked, room * 2 // 3))
    idle = min(asked, max(0, room - episodes) // models)
    return Concurrency(max_concurrent=episodes, max_idle=idle, descriptors=fixed + episodes + idle * models)


def soft_limit() -> float:
    """How many descriptors this process may have open (``RLIMIT_NOFILE``); may be infinite."""
    return math.inf if resource is None else _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def hard_limit() -> float:
    """How far the soft limit can be raised; may be infinite."""
    return math.inf if resource is None else _number(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _number(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


@attrs.define
class _Raised:
    """The soft limit of this process, while it is raised."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    users: int = 0
    before: int = 0
    after: int = 0


# Of the module and not of a runtime: the limit belongs to the process, and the trio runs of all threads share it.
_raised = _Raised()


@contextmanager
def raised_limit() -> Iterator[None]:
    """Raise the soft limit to the hard one, if that is allowed; the last of several to end restores it.

    A limit that somebody else sets meanwhile is not changed back.
    """
    if resource is None:
        yield
        return
    with _raised.lock:
        _raised.users += 1
        if _raised.users == 1:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            _raised.before = _raised.after = soft
            if soft != hard and _set_soft_limit(hard):
                _raised.after = hard
    try:
        yield
    finally:
        with _raised.lock:
            _raised.users -= 1
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            if not _raised.users and soft == _raised.after != _raised.before:
                _set_soft_limit(_raised.before)


def _set_soft_limit(soft: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except (OSError, ValueError):  # an infinite one, or a security module's rule
        return False
    return True


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Whether *error*, or one of its causes, says that this process has too many descriptors open."""
    for _ in range(10):
        if isinstance(error, BaseExceptionGroup):
            return any(is_out_of_descriptors(part) for part in error.exceptions)
        if error is None or getattr(error, "errno", None) == errno.EMFILE:
            return error is not None
        error = error.__cause__ or error.__context__
    return False


class KeepsIdle(Protocol):
    """An owner of open connections that are not in use."""

    def close_one_idle(self) -> bool:
        """Close the oldest one, which releases its descriptors; False if there is none."""


class Hold:
    """Descriptors that are in use, or about to be opened.

    As a context manager: in the body, this task and those that it starts use them; they are released at its end.
    """

    __slots__ = ("_before", "_budget", "_count", "_forced", "_idle", "_priority", "waiters")

    def __init__(self, budget: DescriptorBudget, count: int, *, priority: bool, forced: bool) -> None:
        self._budget, self._count, self._priority, self._forced = budget, count, priority, forced
        self._idle = False
        self.waiters = 0  # tasks that wait for something, and without which this one cannot end

    def release(self) -> None:
        """Release them: they are closed. No error if they were released before."""
        self._budget._release(self)

    @property
    def idle(self) -> bool:
        """Whether they can be closed at any time (see `KeepsIdle`)."""
        return self._idle

    @idle.setter
    def idle(self, idle: bool) -> None:
        if idle is not self._idle:
            self._idle = idle
            budget = self._budget
            budget._idle += 1 if idle else -1
            if idle and (budget._first or budget._rest):
                budget.pump()

    async def open_when_possible(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await *attempt*. If it finds no descriptor in spite of the budget, wait until some are released, and retry.

        Raises:
            Exception: the error of *attempt*, if no holder of descriptors will release any.
        """
        while True:
            try:
                return await attempt()
            except Exception as error:
                if not is_out_of_descriptors(error):
                    raise
                failure = error
            if not await self._wait_again():
                raise failure

    async def _wait_again(self) -> bool:
        if self._forced or self not in self._budget.holds:
            return False
        again = await self._budget.wait_again(self, self._count, priority=self._priority)
        self._forced = again._forced
        return True

    def __enter__(self) -> Hold:
        self._before = _chain.get()
        _chain.set((*self._before, self))
        return self

    def __exit__(self, *_: object) -> None:
        _chain.set(self._before)
        self.release()


_chain: ContextVar[tuple[Hold, ...]] = ContextVar("trioagent_descriptors", default=())
"""Holds that cannot be released before the current task, or the call in it, has ended."""


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for descriptors, or for something that it can use instead."""

    task: trio.lowlevel.Task
    count: int
    priority: bool
    instead: Callable[[], object]
    chain: tuple[Hold, ...]
    parked: bool = False
    found: object = None


class DescriptorBudget:
    """How many descriptors the tasks of one trio run use, and the queue of tasks that wait for some.

    Args:
        limit: how many this process may have open.
        count_open: counts how many it has open.

    Attributes:
        holds: all of them, the idle ones included.
        keep_idle: owners of idle connections that can be closed.
    """

    def __init__(
        self, *, limit: Callable[[], float] | None = None, count_open: Callable[[], float] | None = None
    ) -> None:
        self._limit, self._count_open = limit or soft_limit, count_open or _count_open
        self.holds: set[Hold] = set()
        self.keep_idle: weakref.WeakSet[KeepsIdle] = weakref.WeakSet()
        self._used = 0  # by all holds
        self._idle = 0  # of the holds
        self._blocked = 0  # of the holds: those with waiters
        self._for_blocks = 0  # reserved for children, so that holders of a lease can continue
        self._others = self._count_open()
        self._counted = trio.current_time()
        self._first: deque[_Waiter] = deque()
        self._rest: deque[_Waiter] = deque()
        self._pumping = False

    @property
    def waiting(self) -> int:
        """How many tasks wait for descriptors."""
        return len(self._first) + len(self._rest)

    @contextmanager
    def reserved_for_blocks(self, count: int) -> Iterator[None]:
        """Reserve so many for children, whatever connections and leases there are."""
        self._for_blocks += count
        try:
            yield
        finally:
            self._for_blocks -= count

    async def take(self, count: int, *, priority: bool = False) -> Hold:
        """Wait for *count* descriptors. Cancelling the wait leaves nothing behind.

        Args:
            priority: for a child: it goes before all others, and may use those reserved for blocks.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._fits_at_once(count, priority):
            return self._grant(count, priority, forced=False)
        taken = await self._wait(count, lambda: None, priority)
        assert isinstance(taken, Hold)
        return taken

    async def take_or(self, count: int, instead: Callable[[], T | None], *, priority: bool = False) -> Hold | T:
        """As `take`, unless *instead* returns something that can be used in place of new ones.

        Args:
            instead: is called now, and whenever something was released; it must not wait.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if (found := instead()) is not None:
            return found
        if self._fits_at_once(count, priority):
            return self._grant(count, priority, forced=False)
        return await self._wait(count, instead, priority)

    def _fits_at_once(self, count: int, priority: bool) -> bool:
        """Whether *count* descriptors are available, and no earlier task waits for them."""
        return not (self._first or (self._rest and not priority)) and self._fits(count, priority)

    async def wait_again(self, hold: Hold, count: int, *, priority: bool) -> Hold:
        """Exchange *hold*, for which there were no descriptors, for an equal one, when some have been released."""
        if self._close_one_idle():
            return hold
        self._remove(hold)
        self._count_others(at_least=self._others + self._room() - self._used)  # so that nothing more fits now
        again = None
        try:
            again = await self._wait(count, lambda: None, priority)
        finally:
            if isinstance(again, Hold):
                self._remove(again)
            self._add(hold)  # its owner will release it
        assert isinstance(again, Hold)
        return again

    def waiting_elsewhere(self) -> WaitingElsewhere:
        """In the body, this task waits for another task, and so do the holds that it is part of."""
        return WaitingElsewhere(self)

    def pump(self) -> None:
        """Let the first waiters continue, as far as there are descriptors, or things that they can use instead."""
        if self._pumping:
            return  # a connection was closed for the waiter that is first now
        self._pumping = True
        try:
            while queue := self._first or self._rest:
                waiter = queue[0]
                waiter.found = self._found_for(waiter)
                if waiter.found is None:
                    return
                queue.popleft()
                self._block(waiter.chain, -1)
                if waiter.parked:
                    trio.lowlevel.reschedule(waiter.task)
        finally:
            self._pumping = False

    def _found_for(self, waiter: _Waiter) -> object:
        found = waiter.instead()
        if found is not None:
            return found
        fits = self._fits(waiter.count, waiter.priority)
        if fits or self._stuck():
            return self._grant(waiter.count, waiter.priority, forced=not fits)
        return None

    async def _wait(self, count: int, instead: Callable[[], T | None], priority: bool) -> Hold | T:
        chain = _chain.get()
        waiter = _Waiter(trio.lowlevel.current_task(), count, priority, instead, chain)
        queue = self._first if priority else self._rest
        queue.append(waiter)
        self._block(chain, 1)
        self.pump()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            queue.remove(waiter)
            self._block(chain, -1)
            self.pump()
            return trio.lowlevel.Abort.SUCCEEDED

        if waiter.found is None:
            waiter.parked = True
            await trio.lowlevel.wait_task_rescheduled(abort)
        return cast("Hold | T", waiter.found)

    def _grant(self, count: int, priority: bool, *, forced: bool) -> Hold:
        hold = Hold(self, count, priority=priority, forced=forced)
        self._add(hold)
        return hold

    def _add(self, hold: Hold) -> None:
        self.holds.add(hold)
        self._used += hold._count
        self._blocked += hold.waiters > 0

    def _remove(self, hold: Hold) -> None:
        self.holds.discard(hold)
        self._used -= hold._count
        self._blocked -= hold.waiters > 0

    def _release(self, hold: Hold) -> None:
        if hold in self.holds:
            if hold._idle:
                hold.idle = False
            self._remove(hold)
            if self._first or self._rest:
                self.pump()

    def _fits(self, count: int, priority: bool) -> bool:
        while self._used + count > self._room(priority=priority):
            if trio.current_time() > self._counted + _RECOUNT:
                self._count_others()
            elif not self._close_one_idle():
                return False
        return True

    def _room(self, *, priority: bool = True) -> float:
        """How many descriptors all holds together may use."""
        limit = self._limit()
        room = limit - min(RESERVE, limit // 2) - self._others
        return room if priority or math.isinf(room) else room - min(self._for_blocks, room // 2)

    def _stuck(self) -> bool:
        """Whether every holder waits as well, so that none will be released."""
        return self._blocked >= len(self.holds) - self._idle

    def _block(self, chain: tuple[Hold, ...], change: int) -> None:
        before = self._blocked
        for hold in chain:
            was = hold.waiters > 0
            hold.waiters += change
            if hold in self.holds:
                self._blocked += (hold.waiters > 0) - was
        if self._blocked > before:
            self.pump()

    def _close_one_idle(self) -> bool:
        return self._idle > 0 and any(pool.close_one_idle() for pool in self.keep_idle)

    def _count_others(self, at_least: float = 0) -> None:
        """Count the descriptors of the process outside the holds."""
        self._others = max(self._count_open() - self._used, at_least)
        self._counted = trio.current_time()


class WaitingElsewhere:
    """A wait that no released descriptor ends. A context manager; the wait may end earlier."""

    __slots__ = ("_budget", "_chain")

    def __init__(self, budget: DescriptorBudget) -> None:
        self._budget = budget
        self._chain: tuple[Hold, ...] = ()

    def __enter__(self) -> WaitingElsewhere:
        self._chain = _chain.get()
        if self._chain:
            self._budget._block(self._chain, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """The wait is over. No error if it was ended before."""
        chain, self._chain = self._chain, ()
        if chain:
            self._budget._block(chain, -1)


_RECOUNT = 1.0  # s between two counts of the other open descriptors

_budget: trio.lowlevel.RunVar[DescriptorBudget] = trio.lowlevel.RunVar("trioagent descriptors")


def descriptor_budget() -> DescriptorBudget:
    """The budget of the current trio run."""
    try:
        return _budget.get()
    except LookupError:
        budget = DescriptorBudget()
        _budget.set(budget)
        return budget


def _count_open() -> float:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1
        except OSError:
            continue  # no descriptor is left to open it with, or there is no such folder
    limit = soft_limit()
    return 0 if math.isinf(limit) else limit
