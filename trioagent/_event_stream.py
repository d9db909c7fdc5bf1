"""Hands the events of a turn from the task that drives it to the task that reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from ._driver import Emit, Show
from ._errors import ModelError
from ._events import AgentEvent, Replied
from ._exceptions import body_first, without_cancelled

Drive = Callable[[Emit, Show], Awaitable[object]]


@asynccontextmanager
async def open_event_stream(drive: Drive) -> AsyncIterator[AsyncIterator[AgentEvent]]:
    """Run *drive* in a task of its own, from the reader's first request on, and give what it pushes.

    It is a rendezvous: `emit` returns only when the reader asks for the event after. Pieces of an answer (`show`) are
    kept for the reader without holding the answer up. Leaving the block cancels *drive*.

    Raises:
        BaseException: what *drive* raises is raised to the reader when it asks for the next event. The block's own
            exception comes out bare, with a clean-up error of *drive* as a note on it.
    """
    body: BaseException | None = None
    async with trio.open_nursery() as nursery:
        stream = _EventStream(drive, nursery)
        try:
            yield stream
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
            body = error
        nursery.cancel_scope.cancel()
    if (failure := body_first(body, stream.take_unread_error())) is not None:
        raise failure


class _EventStream(AsyncIterator[AgentEvent]):
    """What the driver has pushed and the reader has not taken, and which of the two waits for the other.

    Not a memory channel: one passes the scheduler for each event, though most events come several at a time.
    """

    def __init__(self, drive: Drive, nursery: trio.Nursery) -> None:
        self._drive, self._nursery = drive, nursery
        self._events: deque[AgentEvent] = deque()
        self._started, self._ended, self._cancelled = False, False, False
        self._driver = trio.lowlevel.ParkingLot()  # until the reader asks for more
        self._reader = trio.lowlevel.ParkingLot()  # until there is something for it
        self._error: BaseException | None = None

    async def __anext__(self) -> AgentEvent:
        if self._events:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            if not self._started:
                self._started = True
                self._nursery.start_soon(self._run)
            self._driver.unpark_all()
        while not self._events:
            if self._ended:
                return await self._end()
            await self._reader.park()
        return self._events.popleft()

    async def _end(self) -> AgentEvent:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._cancelled:  # by a scope that the reader is shielded from
            raise trio.BrokenResourceError("the turn was cancelled")
        raise StopAsyncIteration

    def take_unread_error(self) -> BaseException | None:
        """An error that the reader has not seen, but for that of an answer whose rest it did not ask for."""
        return None if isinstance(self._error, ModelError) else self._error

    async def _run(self) -> None:
        try:
            await self._drive(self._emit, self._show)
        except BaseException as error:  # noqa: BLE001 - the reader's, who is told when it asks
            self._error = without_cancelled(error)
            self._cancelled = self._error is None
        finally:
            self._ended = True
            self._reader.unpark_all()

    def _show(self, event: AgentEvent) -> None:
        self._events.append(event)
        if self._reader:
            self._reader.unpark_all()

    async def _emit(self, event: AgentEvent) -> None:
        self._show(event)
        if not isinstance(event, Replied):  # nothing comes after it that could wait
            await self._driver.park()  # in the same step as the first line, so that no request can come between them
