"""Reads one answer from a server's response: bounded, decoded, and with a typed error for anything else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import trio

from .._errors import ModelError, ModelProtocolError, ModelStatusError
from .._messages import ChatMessage, Usage
from .._retry_policy import parse_http_date, parse_retry_after
from .._server_behaviour import NO_FINISH_REASON
from .._steps import STEP_NAMES, run_steps
from ._base import AnswerEnd, ReasoningDelta, TextDelta
from ._content_coding import decoded
from ._decode import ErrorDetail, Joiner, Piece, decode_answer, decode_chunk, error_detail, is_object, load_steps
from ._sse import SSEDecoder
from ._transport import Endpoint, Response

_MIB = 1024 * 1024
_ANSWER_BYTES = 8 * _MIB  # of a JSON body, and characters of any answer's text
_STREAM_BYTES = 64 * _MIB  # a streamed answer takes some 200 bytes for a token
_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5.0  # for the body of an error response, whose status is already known
_END_SECONDS = 2.0  # from finish_reason to the end of the stream, in which the usage should arrive
_DRAIN_SECONDS = 0.1  # from "[DONE]" to the end of the response, so that the connection can be reused
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":", b"error:")
_BOM = b"\xef\xbb\xbf"


class AnswerReader:
    """Reads one answer from a response: its text as it arrives, then its end.

    Args:
        response: the response, closed by `aclose`.
        endpoint: its origin.

    Attributes:
        chars: of text and reasoning so far.
        finish_reason, usage: as sent by the server so far; "" and None before.
    """

    def __init__(self, response: Response, endpoint: Endpoint) -> None:
        self._response = self._undecoded = response
        self._endpoint = endpoint
        self._streams: bool | None = None  # decided by the body, since some servers mislabel it
        self._decoder = SSEDecoder()
        self._begun = False
        self._received = 0
        self._done = False  # nothing that follows belongs to the answer
        self._ends = False  # the last content, except usage, is a finish reason without text
        self._reasons_with_text = 0  # Gemini and its relatives send a finish reason with every piece of text
        self._last_event = trio.current_time()
        self._text: Joiner | None = None  # created when there is something to be joined
        self._reasoning: Joiner | None = None
        self.chars: int = 0
        self.finish_reason: str = ""
        self.usage: Usage | None = None

    async def aclose(self) -> None:
        await self._undecoded.aclose()

    async def next(self) -> Sequence[TextDelta | ReasoningDelta] | None:
        """What the next bytes add to the answer, waiting for them; None at its end.

        Raises:
            ModelError: the response has no answer, or an incomplete one.
        """
        if not self._begun:
            if not 200 <= self._response.status < 300:
                raise await status_error(self._response)
            self._response = decoded(self._response)
            self._begun = True
        while not self._done:
            text, reasoning = await self._next_of_stream()
            if (text or reasoning or self._done) and (parts := self._parts(text, reasoning)):
                return parts
        if not self._response.over:
            await _drain(self._response)
        await trio.lowlevel.checkpoint_if_cancelled()  # reading buffered bytes is not a checkpoint
        return None

    @property
    def at_end(self) -> bool:
        """Whether everything has been read, so that `next` returns None without waiting."""
        return self._done and self._response.over

    def end(self, messages: Sequence[ChatMessage], *, gives_finish_reason: bool) -> AnswerEnd:
        """The `AnswerEnd` of the answer to *messages*.

        Args:
            gives_finish_reason: other answers of this server had a finish reason.
        """
        reason = self.finish_reason or (NO_FINISH_REASON if gives_finish_reason else "stop")
        return AnswerEnd(self.usage or Usage.estimate(messages, self.chars), reason)

    async def _next_of_stream(self) -> tuple[str, str]:
        """The text and the reasoning of the next events."""
        try:
            if not self._ends:
                chunk = await self._response.read()
            else:
                chunk = b""
                with trio.move_on_after(_END_SECONDS):
                    chunk = await self._response.read()
        except ModelError:
            if not self.finish_reason or self._reasons_with_text > 1:
                raise
            chunk = b""  # the connection broke after a complete answer
        self._received += len(chunk)
        if self._received > _STREAM_BYTES:
            raise ModelProtocolError(f"it is longer than {_STREAM_BYTES // _MIB} MiB")
        if self._streams is None and self._is_json(chunk):
            return self._take(await self._whole(chunk))
        text = reasoning = ""
        received = False
        ended, self._ends = self._ends, False
        for number, data in enumerate(self._decoder.feed(chunk) if chunk else self._rest(), 1):
            if number % STEP_NAMES == 0:
                await trio.lowlevel.checkpoint()
            if data == "[DONE]" or (len(data) < 10 and data.strip().upper() == "[DONE]"):
                self._done = True
                break
            if len(data) <= STEP_NAMES:  # so it has no more names than a step either
                piece = decode_chunk(data)
            else:
                piece = decode_chunk(data, await run_steps(load_steps(data)))
            if isinstance(piece, str):
                received = True
                text += piece
            elif piece is not None:
                received = True
                more, thoughts = self._take(piece)
                text += more
                reasoning += thoughts
        if not (text or reasoning):
            self._ends = self._ends or ended
        if not chunk:
            if not (self.finish_reason or self._done):
                raise self._endpoint.connection_error(f"the answer broke off after {self.chars} characters")
            self._done = True
        if not self._done:
            self._check_silence(received=received)
        return text, reasoning

    def _rest(self) -> Iterator[str]:
        """The last event, if it is complete but the stream ended without its blank line."""
        for data in self._decoder.rest():
            if data == "[DONE]" or (len(data) <= STEP_NAMES and is_object(data)):
                yield data

    def _take(self, piece: Piece) -> tuple[str, str]:
        """Store the other contents of *piece*; returns its text and reasoning."""
        if piece.finish_reason:
            self.finish_reason = piece.finish_reason
            self._ends = not (piece.text or piece.reasoning)
            self._reasons_with_text += not self._ends
        self.usage = piece.usage or self.usage
        return piece.text, piece.reasoning

    def _is_json(self, start: bytes) -> bool:
        """Whether a body that begins with *start* is JSON and not an event stream, whatever its type says."""
        if start.startswith(b"data:"):  # the common case
            self._streams = True
            return False
        start = start.removeprefix(_BOM).lstrip()
        labelled = self._response.headers.get("content-type", "").lower().startswith("text/event-stream")
        if start or not labelled:
            events = bool(start) and (labelled or _begins_events(start))
            self._streams = events and not start.startswith((b"{", b"["))
        return self._streams is False

    def _check_silence(self, *, received: bool) -> None:
        """Comments and pings keep a connection open, but an answer that never begins still times out."""
        now = trio.current_time()
        if received:
            self._last_event = now
        elif now - self._last_event > self._endpoint.silence_seconds:
            raise self._endpoint.silence_error()

    async def _whole(self, start: bytes = b"") -> Piece:
        """The answer in a body that is JSON."""
        body = bytearray(start)
        while len(body) <= _ANSWER_BYTES and (chunk := await self._response.read()):
            body += chunk
        if len(body) > _ANSWER_BYTES:
            raise ModelProtocolError(f"it is longer than {_ANSWER_BYTES} bytes", body[:200].decode(errors="replace"))
        self._done = True
        return await run_steps(decode_answer(bytes(body)))

    def _parts(self, text: str, reasoning: str) -> Sequence[TextDelta | ReasoningDelta]:
        if self._text is not None or not text.isascii():
            self._text = self._text or Joiner()
            text = self._text.join(text, final=self._done)
        if self._reasoning is not None or not reasoning.isascii():
            self._reasoning = self._reasoning or Joiner()
            reasoning = self._reasoning.join(reasoning, final=self._done)
        self.chars += len(text) + len(reasoning)
        if self.chars > _ANSWER_BYTES:
            raise ModelProtocolError(f"its text is longer than {_ANSWER_BYTES} characters")
        if not reasoning:
            return (TextDelta(text, self.at_end),) if text else ()
        return (ReasoningDelta(reasoning), TextDelta(text, self.at_end)) if text else (ReasoningDelta(reasoning),)


def _begins_events(start: bytes) -> bool:
    """Whether *start*, the first bytes of a body, may begin an event stream."""
    return start.startswith(_SSE_STARTS) or any(name.startswith(start) for name in _SSE_STARTS)


async def _drain(response: Response) -> None:
    """Wait briefly for the end of a response whose answer is complete, so that its connection can be reused."""
    with trio.move_on_after(_DRAIN_SECONDS):
        try:
            while await response.read():
                pass
        except ModelError:
            pass  # the answer is complete; only the connection is lost


async def _read_prefix(response: Response, limit: int) -> bytes:
    """The start of an error body for people to read: the part that arrives in time, up to *limit* bytes."""
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
    try:
        detail = error_detail(await _read_prefix(decoded(response), _ERROR_BYTES))
    except ModelProtocolError:  # a content coding that was not requested
        detail = ErrorDetail("")
    asked = _asked_to_wait(response)
    return ModelStatusError(
        response.status, detail.message, detail.retry_after if asked is None else asked, detail.code, detail.param
    )


def _asked_to_wait(response: Response) -> float | None:
    """The delay in seconds that the headers ask for."""
    milliseconds = parse_retry_after(response.headers.get("retry-after-ms", ""), 0.0)
    if milliseconds is not None:
        return milliseconds / 1000
    now = parse_http_date(response.headers.get("date", ""))
    return parse_retry_after(response.headers.get("retry-after", ""), time.time() if now is None else now)
