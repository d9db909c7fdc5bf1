"""Calls between threads or asyncio and Trio: waiting for a Trio function, and from Trio for a coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

import trio

from .._errors import BridgeClosedError, CallCancelledError, WrongContextError
from . import _bridge
from ._call import BridgeCall

_log = logging.getLogger("trioagent")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ANYIO_SECONDS = 0.05  # in a worker thread of anyio, between checks whether the task that waits for it is cancelled
_INJECTED_SECONDS = 0.25  # between moments at which a waiting thread can raise an exception injected into it
_POLL_SECONDS = 0.05  # between checks whether the loop of a cancelled coroutine is still running


def run_sync(function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, name: str = "this call") -> T:
    """Run an async function in Trio, and wait for it in this thread.

    Args:
        name: the call's name in error messages.

    Raises:
        WrongContextError: this thread runs Trio, which the call would block; or gevent or eventlet has patched it.
        BridgeClosedError: the bridge was shut down during the call.

    An exception that interrupts the wait cancels the function, and is raised when that has been cleaned up:
    KeyboardInterrupt at once; one injected into the thread (``PyThreadState_SetAsyncExc``) within 0.25 s; the
    cancellation of the task that waits for this thread, if it is a worker thread of Trio or anyio, within 0.05 s.

    In an asyncio event loop the call blocks that loop, as always in the documented API; a warning says so once. If the
    calling coroutine is cancelled, as by Ctrl-C under ``asyncio.run``, the call ends within 0.25 s.
    """
    if trio.lowlevel.in_trio_run():
        raise WrongContextError(name, "would block the running Trio loop; use trioagent.Agent, which is async")
    wake = threading.Lock()
    wake.acquire()
    call = BridgeCall(function, args, wake.release)
    check, seconds = _interruption(name)
    try:
        _bridge.submit(call)
        while not call.finished or call.silent:
            if not wake.acquire(timeout=seconds):
                check()
    except BaseException:
        cancel_and_wait(call, wake)
        raise
    return call.result()


def _interruption(name: str) -> tuple[Callable[[], object], float]:
    """A function that raises if this thread's wait is to be cancelled, and the seconds between calls of it."""
    if _bridge.is_worker_of_trio():
        return trio.from_thread.check_cancelled, _bridge.WORKER_SECONDS
    if "anyio.to_thread" in sys.modules:
        from anyio import from_thread

        try:
            from_thread.check_cancelled()
        except RuntimeError:  # not a worker thread of anyio
            pass
        else:
            return from_thread.check_cancelled, _ANYIO_SECONDS
    task = _running_task()
    if task is None:
        return _nothing, _INJECTED_SECONDS
    if _bridge.is_new("sync in a loop"):
        _log.warning(
            "%s blocks the running event loop until it is done; AsyncAgent does not, nor does "
            "await loop.run_in_executor(None, agent.chat, message)",
            name,
        )
    asked = task.cancelling()

    def check_task() -> None:
        if task.cancelling() > asked:
            raise asyncio.CancelledError

    return check_task, _INJECTED_SECONDS


def _nothing() -> None:
    """Nothing to check: injected exceptions are raised as soon as this thread runs Python code again."""


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def cancel_and_wait(call: BridgeCall[Any], wake: threading.Lock) -> None:
    """Cancel *call* and wait until it has ended, however many exceptions (such as Ctrl-C) interrupt the wait."""
    while call.cancel():
        try:
            wake.acquire()
        except BaseException:  # noqa: BLE001, S112 - the first one is on its way already
            continue


async def run_async(function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, name: str = "this call") -> T:
    """Run an async function in Trio, and wait for it in this event loop without blocking it.

    Raises:
        WrongContextError: no asyncio event loop is running here.
        BridgeClosedError: the bridge was shut down during the call.

    Cancelling cancels the function; CancelledError is raised when that has been cleaned up, even if the task is
    cancelled again meanwhile. An error of the clean-up becomes its cause.
    """
    loop = running_loop(name)
    waiter: asyncio.Future[None] | None = None
    cancelled: asyncio.CancelledError | None = None

    def wake() -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    call = BridgeCall(function, args, partial(_call_soon, loop, wake), loop)
    try:
        _bridge.submit(call)
        while not call.finished:
            waiter = loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                call.cancel()
        if cancelled is None:
            return call.result()
        raise cancelled from call.error
    finally:
        call.cancel()  # only has an effect if this coroutine is being closed because its loop will not run it again
        cancelled = None  # its traceback refers to this frame: this avoids a reference cycle


async def call_asyncio(
    loop: asyncio.AbstractEventLoop,
    function: Callable[[Unpack[Ts]], Awaitable[T]],
    *args: *Ts,
    context: contextvars.Context | None = None,
    name: str | None = None,
) -> T:
    """From Trio: run a coroutine function in an event loop of another thread, and wait for it.

    Args:
        context: the context variables that the coroutine sees (a copy).
        name: the call's name in error messages; by default the function's name.

    Raises:
        BridgeClosedError: the loop has been closed.
        CallCancelledError: the coroutine was cancelled by others.

    Cancelling cancels the coroutine and waits until it has ended, unless its loop has been closed or stopped and so
    would never complete it.
    """

    async def coroutine() -> T:
        return await function(*args)

    done, token = trio.Event(), trio.lowlevel.current_trio_token()
    task: asyncio.Task[T] | None = None
    cancel_wanted = False

    def start() -> None:
        nonlocal task
        if not cancel_wanted:
            task = loop.create_task(coroutine(), context=None if context is None else context.copy())
            task.add_done_callback(notify)
        else:
            notify()

    def notify(_: object = None) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # Trio has ended: nothing waits any more
            token.run_sync_soon(done.set)

    def stop() -> None:
        nonlocal cancel_wanted
        cancel_wanted = True
        if task is not None:
            task.cancel()

    if not _call_soon(loop, start):
        raise BridgeClosedError("the event loop that the coroutine belongs to has been closed")
    try:
        await done.wait()
    except trio.Cancelled:
        if _call_soon(loop, stop):
            while not done.is_set() and not loop.is_closed() and loop.is_running():
                with trio.move_on_after(_POLL_SECONDS, shield=True):
                    await done.wait()
        raise
    assert task is not None
    if task.cancelled():
        raise CallCancelledError(getattr(function, "__qualname__", repr(function)) if name is None else name)
    return task.result()


def shutdown() -> None:
    """Cancel every call, close all connections and the sandbox, and end the Trio thread; returns when all is done.

    Pending calls raise BridgeClosedError. The next call starts a new thread. A program need not call this: it is done
    when the last of its threads ends.

    Raises:
        WrongContextError: this thread runs an event loop, which the clean-up may need.
    """
    if trio.lowlevel.in_trio_run():
        raise WrongContextError(
            "shutdown()", "would block the running Trio loop; use await trio.to_thread.run_sync(shutdown)"
        )
    if _loop_runs_here():
        raise WrongContextError("shutdown()", "would block the running event loop; use await trioagent.compat.aclose()")
    _bridge.close()


async def aclose() -> None:
    """`shutdown` for coroutines, which does not block the event loop. For the end of a server's lifespan.

    Raises:
        WrongContextError: no asyncio event loop is running here.

    If it is cancelled, the clean-up continues in its thread.
    """
    await running_loop("aclose()").run_in_executor(None, _bridge.close)


def running_loop(name: str) -> asyncio.AbstractEventLoop:
    """This thread's running event loop.

    Raises:
        WrongContextError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongContextError(
            name,
            "needs a running asyncio event loop; without one use its sync form in trioagent.compat, and under Trio "
            "trioagent itself",
        ) from None


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _call_soon(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> bool:
    """Run *action* in *loop*; False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(action)
    except RuntimeError:
        return False
    return True
