"""Reads one answer from a server's response: bounded, decoded, and with a typed error for whatever is no answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import trio

from .._errors import ModelConnectionError, ModelError, ModelProtocolError, ModelStatusError
from .._messages import ChatMessage, Usage
from .._retry_policy import parse_http_date, parse_retry_after
from ._base import AnswerEnd
from ._decode import decode_answer, decode_chunk, error_detail
from ._sse import SSEDecoder
from ._transport import Response

_MIB = 1024 * 1024
_ANSWER_BYTES = 8 * _MIB  # of a JSON body, and characters of any answer's text
_STREAM_BYTES = 64 * _MIB  # a streamed answer spends some 200 bytes on a token
_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5.0  # for the body of an error response, whose status is already known
_END_SECONDS = 2.0  # from finish_reason to the end of the stream, in which the usage should come
_DRAIN_SECONDS = 0.1  # from "[DONE]" to the end of the response, so that the connection can be used again


class AnswerReader:
    """Reads one answer from a response: its text as it arrives, then its end.

    Args:
        response: the response; the caller closes it.
        where: the server's address, for error messages.
    """

    def __init__(self, response: Response, where: str) -> None:
        self._response, self._where = response, where
        # Decided by the response, not by the request: some servers ignore "stream".
        self._streams = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        self._decoder = SSEDecoder()
        self._received = 0
        self._done = False  # nothing that follows belongs to the answer
        self.chars = 0
        self._finish_reason = ""
        self.usage: Usage | None = None

    async def next(self) -> str | None:
        """The next piece of text, waiting for one; None at the answer's end.

        Raises:
            ModelError: the response holds no answer, or an incomplete one.
        """
        response = self._response
        if not self._received:
            if not 200 <= response.status < 300:
                raise await status_error(response)
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity":
                raise ModelProtocolError(f"it is encoded as {encoding!r}, which was not asked for")
        while not self._done:
            text = await self._next_of_stream() if self._streams else await self._whole()
            if text:
                self.chars += len(text)
                if self.chars > _ANSWER_BYTES:
                    raise ModelProtocolError(f"its text is longer than {_ANSWER_BYTES} characters")
                return text
        if not response.over:
            await _drain(response)
        await trio.lowlevel.checkpoint_if_cancelled()  # reading buffered bytes is no checkpoint
        return None

    @property
    def at_end(self) -> bool:
        """Whether everything has been read, so that `next` returns None without waiting."""
        return self._done and self._response.over

    def end(self, messages: Sequence[ChatMessage]) -> AnswerEnd:
        """The `AnswerEnd` of the answer to *messages*."""
        return AnswerEnd(self.usage or Usage.estimate(messages, self.chars), self._finish_reason or "stop")

    async def _next_of_stream(self) -> str:
        if not self._finish_reason:
            chunk = await self._response.read()
        else:
            chunk = b""
            with trio.move_on_after(_END_SECONDS):
                chunk = await self._response.read()
        self._received += len(chunk)
        if self._received > _STREAM_BYTES:
            raise ModelProtocolError(f"it is longer than {_STREAM_BYTES // _MIB} MiB")
        if not chunk:
            if not self._finish_reason:
                raise ModelConnectionError(self._where, f"the answer broke off after {self.chars} characters")
            self._done = True
        text = ""
        for data in self._decoder.feed(chunk):
            if data == "[DONE]":
                self._done = True
                break
            piece = decode_chunk(data)
            text += piece.text
            self._finish_reason = piece.finish_reason or self._finish_reason
            self.usage = piece.usage or self.usage
        return text

    async def _whole(self) -> str:
        """The text of an answer that is one JSON body."""
        body = bytearray()
        while chunk := await self._response.read():
            body += chunk
            if len(body) > _ANSWER_BYTES:
                raise ModelProtocolError(
                    f"it is longer than {_ANSWER_BYTES} bytes", body[:200].decode(errors="replace")
                )
        self._received, self._done = len(body), True
        text, self._finish_reason, self.usage = decode_answer(bytes(body))
        return text


async def _drain(response: Response) -> None:
    """Wait briefly for the end of a response whose answer is complete, so that its connection can be reused."""
    with trio.move_on_after(_DRAIN_SECONDS):
        try:
            while await response.read():
                pass
        except ModelError:
            pass  # the answer is complete; only the connection is lost


async def _read_prefix(response: Response, limit: int) -> bytes:
    """The start of an error body for people to read: what arrives in time, up to *limit* bytes."""
    body = bytearray()
    with trio.move_on_after(_ERROR_SECONDS):
        try:
            while len(body) < limit and (chunk := await response.read()):
                body += chunk
        except ModelError:
            pass
    return bytes(body[:limit])


async def status_error(response: Response) -> ModelStatusError:
    """The error for a status other than success."""
    if 300 <= response.status < 400:
        try:
            host = urlsplit(response.headers.get("location", "")).hostname or "the same host"
        except ValueError:
            host = "an address that is not valid"
        words = f"it redirects to {host}; redirects are not followed, so set the base URL to the server's own"
        return ModelStatusError(response.status, words)
    detail = error_detail(await _read_prefix(response, _ERROR_BYTES))
    asked = response.headers.get("retry-after")
    if asked is None:
        return ModelStatusError(response.status, detail)
    now = parse_http_date(response.headers.get("date", ""))
    return ModelStatusError(response.status, detail, parse_retry_after(asked, time.time() if now is None else now))
