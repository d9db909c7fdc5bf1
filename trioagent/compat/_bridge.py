"""The one Trio thread of the process, behind everything in `trioagent.compat`.

It starts at the first call, runs one `trio.run`, and is shared by all threads and event loops, so that they share model
connections and the sandbox. It knows nothing of agents: it runs calls (see `_call`).

How it ends:

- With the program. Python calls `_main_thread_ends` when the main thread has ended, before it waits for the others.
  Non-daemon threads may go on working, as Python has it; when none is left, whatever still runs is cancelled
  and cleaned up while threads can still be started (an `atexit` function would come too late for that). Whoever waits
  then is a daemon thread or an event loop that never runs again: they are left asleep, as they would be anyway.
- By `shutdown`. Whoever waits gets `BridgeClosedError`; the next call starts a new bridge.
- With the process, however sudden: the sandbox's processes are tied to this thread by the kernel.

A forked child starts a bridge of its own when it needs one. What it inherits of its parent's is not touched again, and
kept: to finalize a suspended coroutine would run its clean-up, which kills the parent's children.
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
from ._call import Call
from ._runtimes import open_runtimes

_LOOPS_SECONDS = 0.1  # between looks for event loops that were closed under a call; only while one waits
_THREADS_SECONDS = 0.01  # between looks for threads that go on after the main thread's end
WORKER_SECONDS = 0.01  # between looks, in a worker thread of Trio, whether the task that waits for it is cancelled

_log = logging.getLogger("trioagent")


class Bridge:
    """A thread that runs Trio. Methods are for any thread, unless they say otherwise."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler may run while its own thread holds it
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._early: list[Callable[[], None]] = []  # posted before Trio was up
        self._calls: dict[Call[Any], None] = {}
        self._nursery: trio.Nursery | None = None  # None: not yet, or no longer
        self._ended = self._silent = False
        self._loops_wait = trio.Event()
        self._closing = trio.Event()

    def submit(self, call: Call[Any]) -> bool:
        """Have *call* run; False if this bridge has ended.

        Raises:
            BridgeClosedError: no thread can be started any more.
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

    def cancel(self, call: Call[Any]) -> None:
        """Cancel *call*, which this bridge has taken on; it is over when it says so, not yet on return."""
        self._post(partial(self._cancel, call))

    def close(self) -> None:
        """Cancel everything, and return when it is cleaned up and the thread has ended.

        In a worker thread of a call that is cancelled thereby, trio.Cancelled is raised: the call waits for it.
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
        """The main thread has ended: close when all other threads that Python waits for have."""
        self._post(self._end_with_the_others)

    def _begin(self) -> None:
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
        if os.getpid() != self._pid:  # the lock below may be held by a thread that this process does not have
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
        """The thread's life."""
        problem, cause = "it was shut down", None
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - every waiting call hears of it
            problem, cause = f"its thread failed ({type(error).__name__}: {error})", error
            _log.error("the Trio thread of trioagent.compat failed", exc_info=error)
        with self._lock:
            self._ended = True
        for call in list(self._calls):
            closed = BridgeClosedError(problem)
            closed.__cause__ = cause
            call.finish(closed, silent=self._silent)
        self._calls.clear()

    # What follows runs in the Trio thread.

    async def _main(self) -> None:
        async with open_runtimes(), trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_loops)
            with self._lock:
                self._token = trio.lowlevel.current_trio_token()
                early, self._early = self._early, []
            for action in early:
                action()
            await self._closing.wait()
            nursery, self._nursery = self._nursery, None
            nursery.cancel_scope.cancel()

    def _start(self, call: Call[Any]) -> None:
        if self._nursery is None:
            self._finish(call, BridgeClosedError("it was being shut down when the call came"))
        elif call.finished:
            self._calls.pop(call, None)
        else:
            call.started = True
            if call.loop is not None:
                self._loops_wait.set()
            self._nursery.start_soon(self._carry, call, name=call.name)

    async def _carry(self, call: Call[Any]) -> None:
        try:
            await call.run()
        finally:
            self._finish(call)

    def _finish(self, call: Call[Any], error: BaseException | None = None) -> None:
        self._calls.pop(call, None)
        call.finish(error, silent=self._silent)

    def _cancel(self, call: Call[Any]) -> None:
        call.scope.cancel()
        if not call.started:  # a signal struck between its registration and its start, which will not come any more
            self._finish(call, BridgeClosedError("the call was cancelled"))

    async def _watch_loops(self) -> None:
        """Cancel the calls of event loops that were closed without running their tasks to an end."""
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


_bridge = Bridge()
_replacing = threading.RLock()
_parents: list[Bridge] = []  # never used again, never finalized
_hooked = _main_thread_ended = False


def is_worker_of_trio() -> bool:
    """Whether a Trio task waits for this thread.

    Raises:
        trio.Cancelled: it does, and is being cancelled.
    """
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


def submit(call: Call[Any]) -> None:
    """Have *call* run by this process's bridge, which starts if it must."""
    while not (bridge := _bridge).submit(call):
        _replace(bridge)


def close() -> None:
    """Cancel and clean up everything; the next call starts a new bridge."""
    bridge = _bridge
    bridge.close()
    _replace(bridge)


def _replace(ended: Bridge) -> None:
    global _bridge
    with _replacing:
        if _bridge is ended:
            _bridge = Bridge()


def _hook_main_threads_end() -> bool:
    """Have `_main_thread_ends` called in time; False if the main thread has ended already."""
    global _hooked
    if not _hooked:
        try:
            threading._register_atexit(_main_thread_ends)  # type: ignore[attr-defined]
        except RuntimeError:
            return False
        _hooked = True
    return not _main_thread_ended


def _main_thread_ends() -> None:
    global _main_thread_ended
    _main_thread_ended = True
    _bridge.end_with_the_others()


def _after_fork() -> None:
    global _bridge, _replacing, _hooked, _main_thread_ended
    _parents.append(_bridge)
    _bridge, _replacing = Bridge(), threading.RLock()
    _hooked = _main_thread_ended = False


os.register_at_fork(after_in_child=_after_fork)
