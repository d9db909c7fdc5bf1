"""Hands the events of a turn from the task that drives it to the task that reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from ._driver import Emit, Show
from ._errors import ModelError
from ._events import AgentEvent, Answered, Replied
from ._exceptions import body_first, without_cancelled

Drive = Callable[[Emit, Show], Awaitable[object]]


def open_event_stream(drive: Drive) -> AbstractAsyncContextManager[AsyncIterator[AgentEvent]]:
    """Run *drive* in a task of its own, from the reader's first request on, and yield the events that it pushes.

    It is a rendezvous: `emit` returns only when the reader asks for the next event, or at once if the turn ends with
    the event. Deltas of an answer (`show`) are queued for the reader without delaying the answer. Leaving the block
    cancels *drive*.

    Raises:
        BaseException: what *drive* raises is raised to the reader when it asks for the next event. The block's own
            exception is raised unwrapped, with a clean-up error of *drive* as a note on it.
    """
    return _EventStreamManager(drive)


class _EventStreamManager(AbstractAsyncContextManager[AsyncIterator[AgentEvent]]):
    """No async generator: its frames and those of `asynccontextmanager` would cost as much as the nursery itself."""

    __slots__ = ("_drive", "_nursery_manager", "_stream")

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    # Neither is interrupted, like the nursery's own methods, so that the nursery is never left open.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> AsyncIterator[AgentEvent]:
        self._nursery_manager = trio.open_nursery()
        self._stream = _EventStream(self._drive, await self._nursery_manager.__aenter__())
        return self._stream

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, body: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.cancel()
        await self._nursery_manager.__aexit__(None, None, None)
        failure = body_first(body, self._stream.take_unread_error())
        if failure is not None and failure is not body:
            raise failure


class _EventStream(AsyncIterator[AgentEvent]):
    """The events that the driver has pushed and the reader has not taken, and which of the two waits for the other.

    Not a memory channel, which would take a scheduler pass for each event, though several usually arrive at once.
    """

    def __init__(self, drive: Drive, nursery: trio.Nursery) -> None:
        self._drive, self._nursery = drive, nursery
        self._events: deque[AgentEvent] = deque()
        self._started, self._ended, self._cancelled = False, False, False
        self._driver: trio.lowlevel.Task | None = None  # waits until the reader asks for more
        self._reader: trio.lowlevel.Task | None = None  # waits until there is an event for it
        self._error: BaseException | None = None

    async def __anext__(self) -> AgentEvent:
        if self._events:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            if not self._started:
                self._started = True
                self._nursery.start_soon(self._run)
            elif self._driver is not None:
                trio.lowlevel.reschedule(self._driver)
                self._driver = None
        while not self._events:
            if self._ended:
                return await self._end()
            await self._wait_for_driver()
        return self._events.popleft()

    async def _wait_for_driver(self) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError("another task is already waiting for the next event of this chat")
        self._reader = trio.lowlevel.current_task()

        def aborted(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(aborted)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            trio.lowlevel.reschedule(self._reader)
            self._reader = None

    async def _end(self) -> AgentEvent:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._cancelled:  # by a scope against which the reader is shielded
            raise trio.BrokenResourceError("the turn was cancelled")
        raise StopAsyncIteration

    def cancel(self) -> None:
        """Stop the driver, if it is running."""
        if not self._ended:
            self._nursery.cancel_scope.cancel()

    def take_unread_error(self) -> BaseException | None:
        """An error that the reader has not seen, except one of an answer whose rest it did not ask for."""
        return None if isinstance(self._error, ModelError) else self._error

    async def _run(self) -> None:
        try:
            await self._drive(self._emit, self._show)
        except BaseException as error:  # noqa: BLE001 - the reader's, who is told when it asks
            self._error = without_cancelled(error)
            self._cancelled = self._error is None
        finally:
            self._ended = True
            self._wake_reader()

    def _show(self, event: AgentEvent) -> None:
        self._events.append(event)
        self._wake_reader()

    async def _emit(self, event: AgentEvent) -> None:
        self._show(event)
        if not _ends_turn(event):  # after the last event there is nothing to wait for
            self._driver = trio.lowlevel.current_task()  # in the same step, so that no request can come in between

            def aborted(_: object) -> trio.lowlevel.Abort:
                self._driver = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(aborted)


def _ends_turn(event: AgentEvent) -> bool:
    """Whether *event* is the last: no code runs and no request is sent after it."""
    return isinstance(event, Replied) or (isinstance(event, Answered) and event.answer.ends_turn)
