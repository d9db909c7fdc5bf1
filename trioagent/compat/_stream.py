"""A chat's events as they happen, for a thread or an asyncio loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import trio

from .._events import AgentEvent
from . import _bridge
from ._call import BridgeCall
from ._facade import AgentFacade
from ._interop import cancel_and_wait, run_async, run_sync, running_loop


class _BridgedStream:
    """The Trio side: one call that runs the chat and answers each request for an event."""

    def __init__(
        self, facade: AgentFacade, message: str, wake: Callable[[], object], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._facade, self._message = facade, message
        self._asked = trio.Semaphore(0)
        self._send, self._receive = trio.open_memory_channel[AgentEvent](0)

        def ended() -> None:
            self._send.close()  # ends the wait for the next event
            wake()

        self.call = BridgeCall(self._serve, (), ended, loop)

    async def next(self) -> AgentEvent | None:
        """The next event; None after the last one, and after an error, which the call raises."""
        self._asked.release()
        with suppress(trio.EndOfChannel):
            return await self._receive.receive()
        return None

    async def _serve(self) -> None:
        agent = await self._facade._agent()
        async with agent.stream_chat(self._message) as events:
            while True:
                await self._asked.acquire()
                event = await anext(events, None)
                if event is None:
                    return
                await self._send.send(event)


@contextmanager
def stream_in_thread(facade: AgentFacade, message: str, *, name: str) -> Iterator[Iterator[AgentEvent]]:
    """Events for a thread, which blocks for each."""
    wake = threading.Lock()
    wake.acquire()
    stream = _BridgedStream(facade, message, wake.release, None)

    def events() -> Iterator[AgentEvent]:
        while (event := run_sync(stream.next, name=name)) is not None:
            yield event
        wake.acquire()
        stream.call.result()

    _bridge.submit(stream.call)
    try:
        yield events()
    finally:
        cancel_and_wait(stream.call, wake)


@asynccontextmanager
async def stream_in_loop(facade: AgentFacade, message: str, *, name: str) -> AsyncIterator[AsyncIterator[AgentEvent]]:
    """Events for an asyncio loop, without blocking it."""
    loop, ended = running_loop(name), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            loop.call_soon_threadsafe(ended.set)

    stream = _BridgedStream(facade, message, wake, loop)
    _bridge.submit(stream.call)
    try:
        yield _LoopEvents(stream, ended, name)
    finally:
        stream.call.cancel()
        await _uncancelled(ended)


class _LoopEvents(AsyncIterator[AgentEvent]):
    def __init__(self, stream: _BridgedStream, ended: asyncio.Event, name: str) -> None:
        self._stream, self._ended, self._name = stream, ended, name

    async def __anext__(self) -> AgentEvent:
        event: Any = await run_async(self._stream.next, name=self._name)
        if event is None:
            await self._ended.wait()
            self._stream.call.result()
            raise StopAsyncIteration
        return event  # type: ignore[no-any-return]


async def _uncancelled(event: asyncio.Event) -> None:
    """Wait for *event*; a cancellation is raised after it."""
    cancelled: asyncio.CancelledError | None = None
    while not event.is_set():
        try:
            await event.wait()
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        raise cancelled
