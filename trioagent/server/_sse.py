"""Server-sent events: a response that goes on, with comments that keep it alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._exceptions import open_helper_nursery

KEEP_ALIVE_SECONDS = 15.0  # proxies close what is silent for a minute, some for half of one
COMMENT = b": keep-alive\n\n"

Write = Callable[[bytes], Awaitable[None]]


class EventStreamResponse(Response):
    """Sends what *produce* writes, and a comment whenever it has written nothing for `KEEP_ALIVE_SECONDS`.

    Args:
        produce: writes whole events to the function that it is given; the response ends when it returns.
    """

    media_type = "text/event-stream"

    def __init__(self, produce: Callable[[Write], Awaitable[None]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        written, started = trio.current_time(), False

        async def write(data: bytes) -> None:
            nonlocal written, started
            written = trio.current_time()
            if not started:  # not earlier, so that what *produce* raises at first still becomes an answer
                started = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def keep_alive() -> None:
            while True:
                await trio.sleep_until(written + KEEP_ALIVE_SECONDS)
                if trio.current_time() >= written + KEEP_ALIVE_SECONDS:
                    await write(COMMENT)

        async with open_helper_nursery() as nursery:
            nursery.start_soon(keep_alive)
            await self._produce(write)
        await write(b"")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
