"""Any httpx transport (for a proxy, HTTP/2, or something of the user's) as a transport of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import httpx
import trio

from .._errors import ModelError, ModelProtocolError
from ._transport import Endpoint, Reply

_CLOSE_SECONDS = 1.0


class OverHttpx:
    """Sends requests through *transport*."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def post(self, endpoint: Endpoint, body: bytes) -> Reply:
        request = httpx.Request("POST", endpoint.url, headers=dict(endpoint.fields), content=body)
        try:
            with trio.move_on_after(endpoint.silence_seconds):
                return _HttpxReply(await self._transport.handle_async_request(request), endpoint)
        except httpx.HTTPError as error:
            raise _translated(error, endpoint) from error
        raise endpoint.silent()

    async def aclose(self) -> None:
        await self._transport.aclose()


class _HttpxReply:
    def __init__(self, response: httpx.Response, endpoint: Endpoint) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.over = False
        self._endpoint, self._stream, self._chunks = endpoint, response.stream, aiter(response.stream)

    async def read(self) -> bytes:
        try:
            with trio.move_on_after(self._endpoint.silence_seconds) as waiting:
                while True:
                    chunk = await anext(self._chunks, None)
                    if chunk is None:
                        self.over = True
                        return b""
                    if chunk:
                        return chunk
        except httpx.HTTPError as error:
            raise _translated(error, self._endpoint) from error
        assert waiting.cancelled_caught
        raise self._endpoint.silent()

    async def aclose(self) -> None:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()
            await self._stream.aclose()


def _translated(error: httpx.HTTPError, endpoint: Endpoint) -> ModelError:
    """What a transport's error means for the model."""
    if isinstance(error, httpx.RemoteProtocolError):
        return ModelProtocolError(f"the server does not speak HTTP ({error})")
    return endpoint.broken(str(error) or type(error).__name__)
