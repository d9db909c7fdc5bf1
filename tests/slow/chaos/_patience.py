"""What a user of a server that hangs does: an exchange that takes too long counts as a broken connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio


class Impatient(httpx.AsyncBaseTransport):
    """A transport that gives one exchange, up to its last byte, so many seconds.

    The library retries what it makes of the error, as it does with every connection that broke.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        until = trio.current_time() + self._seconds
        with trio.move_on_at(until):
            response = await self._inner.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            return httpx.Response(
                response.status_code, headers=response.headers, stream=_Bounded(response.stream, until)
            )
        raise httpx.ReadTimeout("no answer in time")

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, until: float) -> None:
        self._inner, self._until = inner, until
        self._chunks = aiter(inner)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with trio.move_on_at(self._until):
            return await anext(self._chunks)
        raise httpx.ReadTimeout("the answer did not end in time")

    async def aclose(self) -> None:
        await self._inner.aclose()
