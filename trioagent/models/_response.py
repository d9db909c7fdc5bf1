"""One response of a model's server: its bytes within bounds, what they say, and the errors they amount to."""

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
from ._transport import Reply

_MIB = 1024 * 1024
_ANSWER_BYTES = 8 * _MIB  # of a JSON body, and characters of any answer's text
_STREAM_BYTES = 64 * _MIB  # a streamed answer spends some 200 bytes on a token
_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5.0  # for the body of an error response, whose status is already known
_END_SECONDS = 2.0  # from finish_reason to the end of the stream, in which the usage should come
_DRAIN_SECONDS = 0.1  # from "[DONE]" to the end of the response, so that the connection can be used again


class AnswerReader:
    """Reads one answer out of a reply: its text as it comes, then its end.

    Args:
        reply: the response; whoever asked for it closes it.
        where: the server's address, for errors.
    """

    def __init__(self, reply: Reply, where: str) -> None:
        self._reply, self._where = reply, where
        # Decided by what the server says, not by what we asked: some ignore "stream".
        self._streams = reply.headers.get("content-type", "").lower().startswith("text/event-stream")
        self._decoder = SSEDecoder()
        self._received = 0
        self._done = False  # nothing more is to come that counts
        self.chars = 0
        self._finish_reason = ""
        self.usage: Usage | None = None

    async def next(self) -> str | None:
        """The text that has come by now, waiting for some of it; None at the answer's end.

        Raises:
            ModelError: it is no answer, or not all of one.
        """
        reply = self._reply
        if not self._received:
            if not 200 <= reply.status < 300:
                raise await status_error(reply)
            encoding = reply.headers.get("content-encoding", "identity")
            if encoding != "identity":
                raise ModelProtocolError(f"it is encoded as {encoding!r}, which was not asked for")
        while not self._done:
            text = await self._next_of_stream() if self._streams else await self._whole()
            if text:
                self.chars += len(text)
                if self.chars > _ANSWER_BYTES:
                    raise ModelProtocolError(f"its text is longer than {_ANSWER_BYTES} characters")
                return text
        if not reply.over:
            await _drain(reply)
        await trio.lowlevel.checkpoint_if_cancelled()  # bytes that are here already bring no checkpoint of their own
        return None

    @property
    def at_end(self) -> bool:
        """All of the answer has been read, so that what is left of it need not be waited for."""
        return self._done and self._reply.over

    def end(self, messages: Sequence[ChatMessage]) -> AnswerEnd:
        """What there is to say at the end of the answer to *messages*."""
        return AnswerEnd(self.usage or Usage.estimate(messages, self.chars), self._finish_reason or "stop")

    async def _next_of_stream(self) -> str:
        if not self._finish_reason:
            chunk = await self._reply.read()
        else:
            chunk = b""
            with trio.move_on_after(_END_SECONDS):
                chunk = await self._reply.read()
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
        while chunk := await self._reply.read():
            body += chunk
            if len(body) > _ANSWER_BYTES:
                raise ModelProtocolError(
                    f"it is longer than {_ANSWER_BYTES} bytes", body[:200].decode(errors="replace")
                )
        self._received, self._done = len(body), True
        text, self._finish_reason, self.usage = decode_answer(bytes(body))
        return text


async def _drain(reply: Reply) -> None:
    """Wait a moment for the end of a response of which all that counts is here."""
    with trio.move_on_after(_DRAIN_SECONDS):
        try:
            while await reply.read():
                pass
        except ModelError:
            pass  # the answer is whole; only the connection is lost


async def _start_of(reply: Reply, limit: int) -> bytes:
    """The start of a body for people to read: what comes soon and without failing, up to *limit* bytes."""
    body = bytearray()
    with trio.move_on_after(_ERROR_SECONDS):
        try:
            while len(body) < limit and (chunk := await reply.read()):
                body += chunk
        except ModelError:
            pass
    return bytes(body[:limit])


async def status_error(reply: Reply) -> ModelStatusError:
    """What a status other than success means."""
    if 300 <= reply.status < 400:
        try:
            host = urlsplit(reply.headers.get("location", "")).hostname or "the same host"
        except ValueError:
            host = "an address that is not valid"
        words = f"it redirects to {host}; redirects are not followed, so set the base URL to the server's own"
        return ModelStatusError(reply.status, words)
    detail = error_detail(await _start_of(reply, _ERROR_BYTES))
    asked = reply.headers.get("retry-after")
    if asked is None:
        return ModelStatusError(reply.status, detail)
    now = parse_http_date(reply.headers.get("date", ""))
    return ModelStatusError(reply.status, detail, parse_retry_after(asked, time.time() if now is None else now))
