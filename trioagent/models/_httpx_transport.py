"""Adapter from any httpx transport (a proxy, HTTP/2, the program's own) to `Transport`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import httpx
import trio

from .._errors import ModelError, ModelProtocolError
from ._transport import Endpoint, Response

_CLOSE_SECONDS = 1.0


class HttpxTransport:
    """Sends requests through *transport*."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def post(self, endpoint: Endpoint, body: bytes) -> Response:
        request = httpx.Request("POST", endpoint.url, headers=dict(endpoint.headers), content=body)
        try:
            with trio.move_on_after(endpoint.silence_seconds):
                return _HttpxResponse(await self._transport.handle_async_request(request), endpoint)
        except httpx.HTTPError as error:
            raise _translated(error, endpoint) from error
        raise endpoint.silence_error()

    async def aclose(self) -> None:
        await self._transport.aclose()


class _HttpxResponse:
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
        raise self._endpoint.silence_error()

    async def aclose(self) -> None:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()
            await self._stream.aclose()


def _translated(error: httpx.HTTPError, endpoint: Endpoint) -> ModelError:
    """The `ModelError` for an httpx error."""
    if isinstance(error, httpx.RemoteProtocolError):
        return ModelProtocolError(f"the server does not speak HTTP ({error})")
    return endpoint.error_for(error, str(error) or type(error).__name__)
