"""A thread that runs Trio with a runtime, for callers without an event loop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeVar

import trio
from trio_util import AsyncValue

from .._errors import TrioAgentError
from ..runtime import Runtime

T = TypeVar("T")
_log = logging.getLogger("trioagent")


class StageClosedError(TrioAgentError):
    """The stage was closed, before the call or during it."""

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "the stage is closed; create a new one"


class TrioThread:
    """A thread that runs Trio with a runtime, until it is closed. Its methods are for other threads.

    Args:
        opening: returns the runtime's context manager.

    Raises:
        Exception: what opening the runtime raised.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Runtime]]) -> None:
        self._opening, self._pid = opening, os.getpid()
        self._closing = trio.Event()
        self._under_way: set[trio.CancelScope] = set()
        self._count: AsyncValue[int] = AsyncValue(0)
        started: Future[trio.lowlevel.TrioToken] = Future()
        # A daemon thread: an actor may exit abruptly, and the sandbox ends with the thread.
        self._thread = threading.Thread(target=self._run, args=(started,), name="trioagent stage", daemon=True)
        self._thread.start()
        self._token = started.result()

    def call(self, work: Callable[[Runtime], Awaitable[T]]) -> T:
        """Await ``work(runtime)`` there. An exception in this thread, such as an interrupt, cancels it.

        Raises:
            StageClosedError: the thread has been closed, or is meanwhile; or this process is a fork of the thread's.
            Exception: what *work* raised.
        """
        if os.getpid() != self._pid:
            raise StageClosedError
        scope = trio.CancelScope()
        try:
            return trio.from_thread.run(self._work, work, scope, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled) as error:
            raise StageClosedError from error
        except BaseException:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(scope.cancel)
            raise

    def close(self) -> None:
        """Cancel all work; returns when everything has ended."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._closing.set)
        self._thread.join()

    def _run(self, started: Future[trio.lowlevel.TrioToken]) -> None:
        try:
            trio.run(self._main, started)
        except BaseException as error:  # noqa: BLE001 - whoever made this thread is told
            if started.done():
                _log.exception("the thread of a stage ended with an error")
            else:
                started.set_exception(error)

    async def _main(self, started: Future[trio.lowlevel.TrioToken]) -> None:
        async with self._opening() as self._runtime:
            started.set_result(trio.lowlevel.current_trio_token())
            await self._closing.wait()
            for scope in self._under_way:
                scope.cancel()
            await self._count.wait_value(0)

    async def _work(self, work: Callable[[Runtime], Awaitable[T]], scope: trio.CancelScope) -> T:
        if self._closing.is_set():
            raise StageClosedError
        self._under_way.add(scope)
        self._count.value += 1
        try:
            with scope:
                return await work(self._runtime)
        finally:
            self._under_way.discard(scope)
            self._count.value -= 1
        raise StageClosedError
