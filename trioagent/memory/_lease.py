"""Leases: one task of one process at a time may work on a memory.

Tasks of one trio run queue, first come first served, at an in-process lock; the first one competes with other
processes (and other trio runs) for ``flock`` on the memory's folder itself, so a memory contains no lock file and the
kernel frees the lock of a process that dies. The flock is polled, so that waiting costs no thread and can be cancelled
at any time.

Polling alone would starve: a process that passes the lease from task to task frees the flock for some 0.1 ms each time,
and another process's poll, every 1 to 4 ms, would hardly ever hit that gap. So a waiting process marks that it
waits (by a shared record lock on the same descriptor, which works on a folder and vanishes with the descriptor), and a
process that has passed the lease on for 50 ms and sees such a mark does not take it for 5 ms, longer than any poll
interval.
"""

from __future__ import annotations

import fcntl
import math
import os
import random
import struct
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

import attrs
import trio

from .. import _span_names as names
from .._descriptors import descriptor_budget
from .._errors import MemoryDeadlockError, MemoryPathError
from .._tracing import add_event
from . import _fsops
from ._deadlock import Holdings, LeaseWait
from ._file_system import NETWORK_TYPES, on_network
from ._history._tips import JournalTips, NoteHashes
from ._sizes import SizesCache

_POLL_FIRST, _POLL_LAST = 0.001, 0.004  # s
_TURN = 0.050  # s for which one process may pass the lease from task to task while another waits
_PAUSE = 0.005  # s; above _POLL_LAST, so that every waiting process polls at least once in it
_FORGET = 1.0  # s after its last use a queue is dropped
_STALL = 0.050  # s; file operations on the event loop that took longer mean an overloaded local disk
_NESTED = 60.0  # s for which a task that holds a memory waits for another process to free another one
_AVOID = 60.0  # s for which all file operations run in threads after a stall
_MAX_FOLDERS = 20_000  # whose file systems are remembered

T = TypeVar("T")


@attrs.define(eq=False)
class _Queue:
    """The tasks of this trio run that want one memory."""

    lock: trio.Lock = attrs.field(factory=trio.Lock)
    users: int = 0
    busy_since: float = -math.inf
    freed: float = -math.inf
    yield_until: float = -math.inf

    def note_taken(self) -> None:
        now = trio.current_time()
        if now - self.freed > _PAUSE:
            self.busy_since = now  # the memory was free long enough for every waiting process

    def note_freed(self, fd: int) -> None:
        self.freed = now = trio.current_time()
        if now - self.busy_since > _TURN:
            self.busy_since = now
            if _others_wait(fd):
                self.yield_until = now + _PAUSE


@attrs.define(eq=False)
class RunState:
    """State that the memories of one trio run share.

    Attributes:
        queues: path of a memory to the tasks that want it, the most recently used last.
        limiter: bounds the threads for file operations, separate from trio's default limiter, which the program
            may have exhausted.
        sizes: the sizes of recently used memories.
        journals: the ends of the journals of their histories.
        hashes: of the notes that were recently compared with their histories.
        is_local: path of a memory to whether it is on a local file system, the most recently used last.
        network_types: of file systems, on which no operation runs on the event loop.
        stall: seconds on the event loop that count as a stall.
        slow_until: no file operation runs inline before this time (``time.monotonic()``).
        holdings: which task holds which memory, and what holders wait for.
    """

    queues: OrderedDict[str, _Queue] = attrs.field(factory=OrderedDict)
    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(8))
    sizes: SizesCache = attrs.field(factory=SizesCache)
    journals: JournalTips = attrs.field(factory=JournalTips)
    hashes: NoteHashes = attrs.field(factory=NoteHashes)
    is_local: OrderedDict[str, bool] = attrs.field(factory=OrderedDict)
    network_types: frozenset[int] = NETWORK_TYPES
    stall: float = _STALL
    slow_until: float = -math.inf
    holdings: Holdings = attrs.field(factory=Holdings)

    def may_run_inline(self, path: str) -> bool:
        """Whether operations on this memory may run on the event loop: not on a network or overloaded disk."""
        return self.is_local.get(path, False) and time.monotonic() >= self.slow_until

    def run_inline(self, function: Callable[[], T]) -> T:
        """Run file operations in this thread, and record a stall."""
        began = time.monotonic()
        try:
            return function()
        finally:
            ended = time.monotonic()
            if ended - began > self.stall:
                self.slow_until = ended + _AVOID

    def note_file_system(self, path: str, is_local: bool) -> None:
        self.is_local[path] = is_local
        self.is_local.move_to_end(path)
        if len(self.is_local) > _MAX_FOLDERS:
            self.is_local.popitem(last=False)


_run_state: trio.lowlevel.RunVar[RunState] = trio.lowlevel.RunVar("trioagent memory")


def run_state() -> RunState:
    """The state of the current trio run."""
    try:
        return _run_state.get()
    except LookupError:
        state = RunState()
        _run_state.set(state)
        return state


async def in_thread(function: Callable[[], T]) -> T:
    """Run file operations off the event loop. Once begun they complete, whatever is cancelled."""
    return await trio.to_thread.run_sync(function, limiter=run_state().limiter)


async def run_inline_or_in_thread(path: str, function: Callable[[], T], *, small: Callable[[], bool]) -> T:
    """Run file operations on the memory *path*: *small* ones in this thread if its disk is fast, others in a worker.

    *small* is called only if the disk is fast, so it may access the disk itself.

    A thread costs some 70 us of CPU, and each of its system calls releases the interpreter lock, which a busy main
    thread then keeps for a while. Cancelling: operations that have begun complete first.
    """
    state = run_state()
    if state.may_run_inline(path) and small():
        await trio.lowlevel.checkpoint_if_cancelled()
        return state.run_inline(function)
    return await in_thread(function)


@asynccontextmanager
async def exclusive(
    path: str,
    *,
    open_ready: Callable[[], int | None],
    begin_ready: Callable[[int], T | None],
    open_root: Callable[[], int],
    begin: Callable[[int], T],
) -> AsyncIterator[T]:
    """Hold the memory. Cancelling the wait leaves nothing behind; one that could never end is refused (`_deadlock`).

    Normally four system calls are enough, and run inline on a local disk: a thread for them costs five times as much,
    and more if many tasks want the interpreter lock.

    Args:
        path: tasks with the same path queue in order.
        open_ready: opens the memory's folder if nothing else needs to be done; else returns None.
        begin_ready: as *begin*, if nothing needs to be done; else returns None.
        open_root: creates and opens the folder, or raises; called in a thread.
        begin: called in a thread with the folder's descriptor once it is held. Its result is yielded.
    """
    state = run_state()
    queue = _queue(state.queues, path)
    queue.users += 1
    budget = descriptor_budget()
    in_a_thread = partial(_try_to_begin, open_root, begin, state.network_types)
    try:
        with budget.waiting_elsewhere() as elsewhere, state.holdings.waiting(path) as wait:
            async with queue.lock:
                if queue.yield_until > trio.current_time():
                    await trio.sleep_until(queue.yield_until)
                with await budget.take(1) as descriptor:
                    fd, begun = await descriptor.open_when_possible(
                        partial(_begin, state, path, partial(_try_at_once, open_ready, begin_ready), in_a_thread)
                    )
                    try:
                        info = os.fstat(fd)
                        wait.identity = identity = info.st_dev, info.st_ino
                        if not begun:
                            await _flock(fd, state.holdings, wait)
                            begun.append(await in_thread(partial(begin, fd)))
                        wait.end()
                        elsewhere.end()
                        queue.note_taken()
                        try:
                            with state.holdings.holding(path, identity):
                                add_event(names.LEASE)
                                yield begun[0]
                        finally:
                            queue.note_freed(fd)
                    finally:
                        fcntl.flock(fd, fcntl.LOCK_UN)  # closing would do, unless a child has a duplicate of it
                        os.close(fd)
    finally:
        queue.users -= 1


def _queue(queues: OrderedDict[str, _Queue], path: str) -> _Queue:
    queue = queues.setdefault(path, _Queue())
    queues.move_to_end(path)
    horizon = trio.current_time() - _FORGET
    for old, other in list(islice(queues.items(), 2)):  # two for each one added, so idle ones do not accumulate
        if not other.users and other.freed < horizon and other is not queue:
            del queues[old]
    return queue


async def _begin(
    state: RunState,
    path: str,
    at_once: Callable[[], tuple[int, list[T]] | None],
    in_a_thread: Callable[[], tuple[int, list[T], bool]],
) -> tuple[int, list[T]]:
    """The folder's descriptor, and the result of *begin* if nobody held it: inline if possible, else in a thread."""
    if state.may_run_inline(path) and (taken := state.run_inline(at_once)) is not None:
        return taken  # noqa: ASYNC910 - whoever opens memories has checkpoints before
    fd, begun, is_local = await in_thread(in_a_thread)
    state.note_file_system(path, is_local)
    return fd, begun


def _try_at_once(
    open_ready: Callable[[], int | None], begin_ready: Callable[[int], T | None]
) -> tuple[int, list[T]] | None:
    fd = open_ready()
    if fd is None:
        return None
    try:
        begun = begin_ready(fd) if _try_flock(fd) else None
    except BaseException:
        os.close(fd)
        raise
    return fd, [] if begun is None else [begun]


def _try_to_begin(
    open_root: Callable[[], int], begin: Callable[[int], T], network_types: frozenset[int]
) -> tuple[int, list[T], bool]:
    """Open the folder and, if nobody holds it, begin: one thread hop in the common case.

    Returns:
        Its descriptor, the result of *begin* or nothing, and whether its file system is local.
    """
    fd = open_root()
    try:
        is_local = not on_network(fd, network_types)
        return fd, [begin(fd)] if _try_flock(fd) else [], is_local
    except BaseException:
        os.close(fd)
        raise


async def _flock(fd: int, holdings: Holdings, wait: LeaseWait) -> None:
    holdings.check(wait)  # once more: it may be held under another path
    delay, give_up = _POLL_FIRST, trio.current_time() + _NESTED if wait.within else math.inf
    _mark_waiting(fd, fcntl.F_RDLCK)
    while not _try_flock(fd):
        if trio.current_time() > give_up and not holdings.knows_holder(wait):
            held = " and ".join(repr(holding.path) for holding in wait.within)
            problem = (
                f"another process has held it for {_NESTED:g} s, and may wait for {held}, held by the block that this "
                "call is part of"
            )
            raise MemoryDeadlockError(wait.path, problem)
        await trio.sleep(delay * random.uniform(0.5, 1.0))
        delay = min(delay * 2, _POLL_LAST)
    _mark_waiting(fd, fcntl.F_UNLCK)


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        problem = f"its file system cannot lock a folder ({error.strerror}); keep memories on a local disk"
        raise MemoryPathError(_fsops.path_of(fd), problem) from error
    return True


_HAS_RECORD_LOCKS = hasattr(fcntl, "F_OFD_SETLK")  # which belong to an open file, and not to a process


def _record_lock(kind: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)


def _mark_waiting(fd: int, kind: int) -> None:
    if not _HAS_RECORD_LOCKS:
        return
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _record_lock(kind))
    except OSError:  # the file system has no record locks; see _others_wait
        pass


def _others_wait(fd: int) -> bool:
    """Whether another process (or trio run) waits for the memory; true if that cannot be seen."""
    if not _HAS_RECORD_LOCKS:
        return True
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _record_lock(fcntl.F_WRLCK))
    except OSError:
        return True
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)
