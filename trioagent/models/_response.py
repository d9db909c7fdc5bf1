"""One response of a model's server: its bytes within bounds, what they say, and the errors they amount to."""

from __future__ import annotations

import time

import httpx
import trio

from .._errors import ModelConnectionError, ModelError, ModelProtocolError, ModelStatusError
from .._messages import Usage
from .._pacing import parse_http_date, parse_retry_after
from ._decode import decode_answer, decode_chunk, error_detail
from ._sse import SSEDecoder

_MIB = 1024 * 1024
ANSWER_BYTES = 8 * _MIB  # of a JSON body, and characters of any answer's text
_STREAM_BYTES = 64 * _MIB  # a streamed answer spends some 200 bytes on a token
_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5.0  # for the body of an error response, whose status is already known
_DRAIN_SECONDS = 0.1  # from "[DONE]" to the end of the response, so that the connection can be used again


class Chunks:
    """A response's bytes, bounded, with transport errors translated.

    Args:
        where: the server's address, for errors.
        silence: seconds after which a server that sends nothing is given up.
    """

    def __init__(self, stream: httpx.AsyncByteStream, where: str, silence: float) -> None:
        self._chunks, self._where, self._silence = aiter(stream), where, silence
        self._received = 0

    async def next(self, *, within: float | None = None) -> bytes | None:
        """The next bytes, or None at the end, or if there are none *within* so many seconds."""
        if within is not None:
            with trio.move_on_after(within):
                return await self.next()
            return None
        try:
            with trio.move_on_after(self._silence) as waiting:
                chunk = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise connection_error(self._where, error) from error
        if waiting.cancelled_caught:
            raise silent(self._where, self._silence)
        self._received += len(chunk or b"")
        if self._received > _STREAM_BYTES:
            raise ModelProtocolError(f"it is longer than {_STREAM_BYTES // _MIB} MiB")
        return chunk

    async def read_all(self, limit: int) -> bytes:
        """The whole body; ModelProtocolError if it is longer than *limit* bytes."""
        body = bytearray()
        while (chunk := await self.next()) is not None:
            body += chunk
            if len(body) > limit:
                raise ModelProtocolError(f"it is longer than {limit} bytes", body[:200].decode(errors="replace"))
        return bytes(body)

    async def read_start(self, limit: int) -> bytes:
        """The start of a body for people to read: what comes soon and without failing, up to *limit* bytes."""
        body = bytearray()
        with trio.move_on_after(_ERROR_SECONDS):
            try:
                while len(body) < limit and (chunk := await self.next()) is not None:
                    body += chunk
            except ModelError:
                pass  # the status, which is what counts, has come
        return bytes(body[:limit])

    async def drain(self) -> None:
        """Read on to the end if it is near, so that the connection can be used again."""
        with trio.move_on_after(_DRAIN_SECONDS):
            try:
                while await self.next() is not None:
                    pass
            except ModelError:
                pass  # the answer is whole; only the connection is lost


class Tally:
    """What an answer's chunks have said so far."""

    def __init__(self) -> None:
        self._decoder = SSEDecoder()
        self.chars = 0
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.done = False

    def add(self, chunk: bytes) -> str:
        """Take bytes of a stream; the text that they add."""
        text = ""
        for event in self._decoder.feed(chunk):
            if event.data == "[DONE]":
                self.done = True
                break
            piece = decode_chunk(event.data)
            text += piece.text
            self.finish_reason = piece.finish_reason or self.finish_reason
            self.usage = piece.usage or self.usage
        return self._keep(text)

    def add_whole(self, body: bytes) -> str:
        """Take a whole JSON answer; its text."""
        piece = decode_answer(body)
        self.finish_reason, self.usage = piece.finish_reason, piece.usage
        return self._keep(piece.text)

    def _keep(self, text: str) -> str:
        self.chars += len(text)
        if self.chars > ANSWER_BYTES:
            raise ModelProtocolError(f"its text is longer than {ANSWER_BYTES} characters")
        return text


async def status_error(response: httpx.Response, chunks: Chunks) -> ModelStatusError:
    if response.is_redirect or 300 <= response.status_code < 400:
        try:
            host = httpx.URL(response.headers.get("location", "")).host or "the same host"
        except httpx.InvalidURL:
            host = "an address that is not valid"
        words = f"it redirects to {host}; redirects are not followed, so set the base URL to the server's own"
        return ModelStatusError(response.status_code, words)
    detail = error_detail(await chunks.read_start(_ERROR_BYTES))
    asked = response.headers.get("retry-after")
    if asked is None:
        return ModelStatusError(response.status_code, detail)
    now = parse_http_date(response.headers.get("date", ""))
    return ModelStatusError(response.status_code, detail, parse_retry_after(asked, time.time() if now is None else now))


def connection_error(where: str, error: httpx.HTTPError) -> ModelError:
    """What a transport's error means for the model at *where*."""
    if isinstance(error, httpx.RemoteProtocolError):
        return ModelProtocolError(f"the server does not speak HTTP ({error})")
    return ModelConnectionError(where, str(error) or type(error).__name__)


def silent(where: str, seconds: float) -> ModelConnectionError:
    """A server that sent nothing for so long."""
    return ModelConnectionError(where, f"it sent nothing for {seconds:g} s")
