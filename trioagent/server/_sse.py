"""Server-sent events: a streamed response, with comments that keep the connection alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._exceptions import open_helper_nursery

COMMENT = b": keep-alive\n\n"

Write = Callable[[bytes], Awaitable[None]]


class EventStreamResponse(Response):
    """Sends what *produce* writes, and a comment after each interval without output.

    Args:
        produce: passes whole events to the function that it is given; the response ends when it returns.
        keep_alive_seconds: the interval.
    """

    media_type = "text/event-stream"

    def __init__(self, produce: Callable[[Write], Awaitable[None]], keep_alive_seconds: float) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"
        self._produce, self._keep_alive_seconds = produce, keep_alive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        written, started = trio.current_time(), False

        async def write(data: bytes) -> None:
            nonlocal written, started
            written = trio.current_time()
            if not started:  # not earlier, so that an error that *produce* raises at first still gets an error response
                started = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def keep_alive() -> None:
            while True:
                await trio.sleep_until(written + self._keep_alive_seconds)
                if trio.current_time() >= written + self._keep_alive_seconds:
                    await write(COMMENT)

        async with open_helper_nursery() as nursery:
            nursery.start_soon(keep_alive)
            await self._produce(write)
        await write(b"")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
