"""The process's one Trio thread, which runs everything in `trioagent.compat`.

It starts at the first call, runs one `trio.run`, and is shared by all threads and event loops, so that they share model
connections and the sandbox. It knows nothing about agents: it runs calls (see `_call`).

How it ends:

- With the program. Python calls `_main_thread_ends` when the main thread has ended, before it joins the other threads.
  Non-daemon threads may continue, as in every Python program; when none is left, everything that still runs is
  cancelled and cleaned up while threads can still be started (an `atexit` function would be too late for that). Pending
  calls then belong to daemon threads or to event loops that never run again: their waiters are not woken.
- By `shutdown`. Pending calls raise `BridgeClosedError`; the next call starts a new bridge.
- With the process, however it dies: the sandbox's processes die with this thread (``PR_SET_PDEATHSIG``).

A forked child starts its own bridge when it needs one. The inherited bridge is kept but not used again: finalizing
a suspended coroutine would run its clean-up, which kills the parent's children.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from .._errors import BridgeClosedError
from ._call import BridgeCall
from ._patched import check_not_patched
from ._runtimes import Runtimes, open_runtimes

_LOOPS_SECONDS = 0.1  # between checks for event loops that were closed during a call; only while such a call runs
_THREADS_SECONDS = 0.01  # between checks for threads that outlive the main thread
WORKER_SECONDS = 0.01  # in a worker thread of Trio, between checks whether the task that waits for it is cancelled

_log = logging.getLogger("trioagent")


class Bridge:
    """A thread that runs Trio. Its methods may be called from any thread, unless they say otherwise."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler may run while its own thread holds it
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._early: list[Callable[[], None]] = []  # posted before Trio was running
        self._calls: dict[BridgeCall[Any], None] = {}
        self._nursery: trio.Nursery | None = None  # None: not open yet, or closed
        self._ended = self._silent = False
        self._loops_wait = trio.Event()
        self._closing = trio.Event()
        self.runtimes: Runtimes | None = None

    @property
    def running(self) -> bool:
        """Whether its thread has been started and has not ended."""
        return self._thread is not None and not self._ended

    @property
    def calls(self) -> int:
        """The number of calls in progress."""
        return len(self._calls)

    def submit(self, call: BridgeCall[Any]) -> bool:
        """Schedule *call*; False if this bridge has ended.

        Raises:
            BridgeClosedError: no thread can be started any more.
            WrongContextError: gevent or eventlet has patched this process.
        """
        with self._lock:
            if self._ended:
                return False
            if self._thread is None:
                self._begin()
            call.bridge = self
            self._calls[call] = None
        if self._post(partial(self._start, call)):
            return True
        self._calls.pop(call, None)
        return False

    def cancel(self, call: BridgeCall[Any]) -> None:
        """Request the cancellation of *call*, which was submitted here; returns before the call has ended."""
        self._post(partial(self._cancel, call))

    def close(self) -> None:
        """Cancel everything, and return when it has been cleaned up and the thread has ended.

        Raises:
            trio.Cancelled: called in a worker thread of a call that this cancels, since the call waits for the thread.
        """
        with self._lock:
            thread = self._thread
            if thread is None:
                self._ended = True
        if thread is not None:
            self._post(self._closing.set)
            worker = is_worker_of_trio()
            while thread.is_alive():
                thread.join(WORKER_SECONDS if worker else None)
                if worker:
                    trio.from_thread.check_cancelled()

    def end_with_the_others(self) -> None:
        """The main thread has ended: close the bridge when all other non-daemon threads have ended."""
        self._post(self._end_with_the_others)

    def _begin(self) -> None:
        check_not_patched()
        if not _hook_main_threads_end():
            if threading.current_thread() is threading.main_thread():  # an atexit function: the others have ended too
                self._ended = True
                raise BridgeClosedError("the program is ending")
            self._early.append(self._end_with_the_others)
        try:
            self._thread = threading.Thread(target=self._run, name="trioagent", daemon=False)
            self._thread.start()
        except RuntimeError as error:
            self._ended = True
            raise BridgeClosedError(f"its thread cannot start ({error})") from error

    def _post(self, action: Callable[[], None]) -> bool:
        """Run *action* in the Trio thread, in order; False if Trio has ended. *action* must not raise."""
        if os.getpid() != self._pid:  # the lock may be held by a thread that does not exist in this process
            return False
        with self._lock:
            if self._ended:
                return False
            if self._token is None:
                self._early.append(action)
                return True
        try:
            self._token.run_sync_soon(action)
        except trio.RunFinishedError:
            return False
        return True

    def _run(self) -> None:
        """The thread's main function."""
        problem, cause = "it was shut down", None
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - every pending call raises it
            problem, cause = f"its thread failed ({type(error).__name__}: {error})", error
            _log.error("the Trio thread of trioagent.compat failed", exc_info=error)
        with self._lock:
            self._ended = True
        for call in list(self._calls):
            closed = BridgeClosedError(problem)
            closed.__cause__ = cause
            call.finish(closed, silent=self._silent)
        self._calls.clear()

    # The methods below run in the Trio thread.

    async def _main(self) -> None:
        async with open_runtimes() as self.runtimes, trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_loops)
            with self._lock:
                self._token = trio.lowlevel.current_trio_token()
                early, self._early = self._early, []
            for action in early:
                action()
            await self._closing.wait()
            nursery, self._nursery = self._nursery, None
            nursery.cancel_scope.cancel()

    def _start(self, call: BridgeCall[Any]) -> None:
        if self._nursery is None:
            self._finish(call, BridgeClosedError("it was being shut down when the call came"))
        elif call.finished:
            self._calls.pop(call, None)
        else:
            call.started = True
            if call.loop is not None:
                self._loops_wait.set()
            call.context.run(partial(self._nursery.start_soon, self._run_call, call, name=call.name))

    async def _run_call(self, call: BridgeCall[Any]) -> None:
        try:
            await call.run()
        finally:
            self._finish(call)

    def _finish(self, call: BridgeCall[Any], error: BaseException | None = None) -> None:
        self._calls.pop(call, None)
        call.finish(error, silent=self._silent)

    def _cancel(self, call: BridgeCall[Any]) -> None:
        call.scope.cancel()
        if not call.started:  # a signal came between its registration and its start, and so it will never start
            self._finish(call, BridgeClosedError("the call was cancelled"))

    async def _watch_loops(self) -> None:
        """Cancel the calls of event loops that were closed before their tasks had ended."""
        while True:
            await self._loops_wait.wait()
            await trio.sleep(_LOOPS_SECONDS)
            waiting = [call for call in list(self._calls) if call.loop is not None]
            for call in waiting:
                if call.loop is not None and call.loop.is_closed():
                    call.scope.cancel()
            if not waiting:
                self._loops_wait = trio.Event()

    def _end_with_the_others(self) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._wait_for_other_threads)

    async def _wait_for_other_threads(self) -> None:
        ours = {threading.main_thread(), threading.current_thread()}
        while any(thread.is_alive() and not thread.daemon for thread in set(threading.enumerate()) - ours):  # noqa: ASYNC110
            await trio.sleep(_THREADS_SECONDS)
        self._silent = True
        self._closing.set()


class _Process:
    """The bridge of this process, and state that outlives one bridge; the package's only mutable module global.

    It must be global: programs without an event loop of ours have no scope that could own it.
    """

    def __init__(self, inherited: list[Bridge]) -> None:
        self.bridge = Bridge()
        self.inherited = inherited  # bridges of parent processes: never used again, never finalized
        self.hooked = self.main_thread_ended = False
        self._replacing = threading.RLock()
        self._notices: set[str] = set()

    def submit(self, call: BridgeCall[Any]) -> None:
        while not (bridge := self.bridge).submit(call):
            self._replace(bridge)

    def close(self) -> None:
        bridge = self.bridge
        bridge.close()
        self._replace(bridge)

    def is_new(self, notice: str) -> bool:
        """Whether *notice* has not been given yet; marks it as given."""
        if notice in self._notices:
            return False
        self._notices.add(notice)
        return True

    def _replace(self, ended: Bridge) -> None:
        with self._replacing:
            if self.bridge is ended:
                self.bridge = Bridge()


_process = _Process([])


def is_worker_of_trio() -> bool:
    """Whether this is a worker thread that a Trio task waits for.

    Raises:
        trio.Cancelled: it is, and the task is being cancelled.
    """
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


def submit(call: BridgeCall[Any]) -> None:
    """Run *call* in this process's bridge; starts the bridge if necessary.

    Raises:
        BridgeClosedError: no more threads can be started.
    """
    _process.submit(call)


def bridge() -> Bridge:
    """The bridge that the next call would use."""
    return _process.bridge


def close() -> None:
    """Cancel and clean up everything; the next call starts a new bridge."""
    _process.close()


def is_new(notice: str) -> bool:
    """Whether *notice* has not been given in this process yet; marks it as given."""
    return _process.is_new(notice)


def _hook_main_threads_end() -> bool:
    """Have `_main_thread_ends` called; False if the main thread has already ended."""
    if not _process.hooked:
        try:
            threading._register_atexit(_main_thread_ends)  # type: ignore[attr-defined]
        except RuntimeError:
            return False
        _process.hooked = True
    return not _process.main_thread_ended


def _main_thread_ends() -> None:
    _process.main_thread_ended = True
    _process.bridge.end_with_the_others()


def _after_fork() -> None:
    global _process
    _process = _Process([*_process.inherited, _process.bridge])


os.register_at_fork(after_in_child=_after_fork)
