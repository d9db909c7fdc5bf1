"""Answers for the loopback model server: valid ones and faults, as bytes on the wire."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

Then = Literal["keep", "close", "reset", "hang"]

_JSON = "application/json"
_SSE = "text/event-stream"


@attrs.frozen
class Wire:
    """Arbitrary bytes to send.

    Attributes:
        pieces: sent one after the other, in a write each; may be endless, and must yield the same each time it is
            iterated if the answer is to be used more than once.
        delay: seconds before the first piece.
        pace: seconds between pieces.
        then: "keep" the connection for the next request, "close" it, "reset" it, or "hang" until the client leaves.
    """

    pieces: Iterable[bytes]
    delay: float = 0.0
    pace: float = 0.0
    then: Then = "keep"


@attrs.frozen
class Say:
    """A valid answer, as an event stream if the request asks for one, else as JSON.

    Attributes:
        text: the answer.
        delay: seconds before the first byte.
        chunk: characters in one event; 0 for all of them.
        piece: bytes in one write; 0 for an event a write if there is a pace, else all in one.
        pace: seconds between writes.
        usage: prompt and completion tokens, or None for a server that does not count.
        finish_reason: of the last event.
        done: whether the stream ends with ``[DONE]``.
        ignore_stream: answer in JSON even if a stream was requested.
        then: see :class:`Wire`.
    """

    text: str
    delay: float = 0.0
    chunk: int = 0
    piece: int = 0
    pace: float = 0.0
    usage: tuple[int, int] | None = (12, 3)
    finish_reason: str = "stop"
    done: bool = True
    ignore_stream: bool = False
    then: Then = "keep"

    def wire(self, *, stream: bool) -> Wire:
        """The bytes of this answer."""
        return _say(self, stream and not self.ignore_stream)


# A benchmark's server sends the same answer many thousand times.
@functools.lru_cache(maxsize=64)
def _say(say: Say, stream: bool) -> Wire:
    if stream:
        payloads = [*_deltas(say), *(["[DONE]"] if say.done else [])]
        pieces = [_head(_SSE), *(_chunk(_event(payload)) for payload in payloads), b"0\r\n\r\n"]
    else:
        message = {"role": "assistant", "content": say.text}
        choices = [{"index": 0, "message": message, "finish_reason": say.finish_reason}]
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "scripted"}
        answer = {**head, "choices": choices, **_usage(say)}
        pieces = [_whole(json.dumps(answer).encode())]
    if say.piece:
        joined = b"".join(pieces)
        pieces = [joined[i : i + say.piece] for i in range(0, len(joined), say.piece)]
    elif not say.pace:
        pieces = [b"".join(pieces)]
    return Wire(tuple(pieces), delay=say.delay, pace=say.pace, then=say.then)


def _deltas(say: Say) -> list[str]:
    step = say.chunk or len(say.text) or 1
    texts = [say.text[i : i + step] for i in range(0, len(say.text), step)]
    events: list[dict[str, Any]] = [delta_event(text) for text in texts]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": say.finish_reason}]})
    if say.usage:
        events.append({"choices": [], **_usage(say)})
    return [json.dumps(event) for event in events]


def delta_event(text: str) -> dict[str, Any]:
    """The JSON of one streamed piece of text."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


def _usage(say: Say) -> dict[str, Any]:
    if say.usage is None:
        return {}
    prompt, completion = say.usage
    total = prompt + completion
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}}


class Fault:
    """Faults of a model's server, each a :class:`Wire`."""

    @staticmethod
    def status(
        status: int, message: str = "scripted failure", *, retry_after: str | float | None = None, delay: float = 0.0
    ) -> Wire:
        """An HTTP error in the API's own JSON format."""
        headers = [] if retry_after is None else [f"Retry-After: {retry_after}"]
        body = json.dumps({"error": {"message": message, "code": status}}).encode()
        return Wire((_whole(body, status=status, headers=headers),), delay=delay)

    @staticmethod
    def redirect(location: str, status: int = 307) -> Wire:
        """A redirect."""
        return Wire((_whole(b"", status=status, headers=[f"Location: {location}"]),))

    @staticmethod
    def hang() -> Wire:
        """Sends nothing at all."""
        return Wire((), then="hang")

    @staticmethod
    def hang_mid_body(text: str = "half an ans") -> Wire:
        """The start of a stream, and then silence."""
        return Wire((_head(_SSE), _chunk(_event(json.dumps(delta_event(text))))), then="hang")

    @staticmethod
    def half_body(text: str = "half an ans", *, then: Then = "close") -> Wire:
        """The start of a stream, and then the connection closes (or is reset)."""
        return Wire((_head(_SSE), _chunk(_event(json.dumps(delta_event(text))))), then=then)

    @staticmethod
    def drop(*, then: Then = "close") -> Wire:
        """The connection closes (or is reset) before the first byte."""
        return Wire((), then=then)

    @staticmethod
    def json(value: object, *, status: int = 200) -> Wire:
        """A JSON body of any shape."""
        return Wire((_whole(json.dumps(value).encode(), status=status),))

    @staticmethod
    def null_choices() -> Wire:
        """``choices`` is null, which overloaded gateways answer with status 200."""
        return Fault.json({"choices": None})

    @staticmethod
    def body(content: bytes, *, content_type: str = _JSON, status: int = 200) -> Wire:
        """Any body."""
        return Wire((_whole(content, status=status, content_type=content_type),))

    @staticmethod
    def bad_json() -> Wire:
        """Truncated JSON."""
        return Fault.body(b'{"choices": [{"message": {"content": "hel')

    @staticmethod
    def events(*payloads: object, then: Then = "keep") -> Wire:
        """A stream of events with these JSON values (a str is sent as it is, such as ``"[DONE]"``)."""
        texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads]
        return Wire((b"".join([_head(_SSE), *(_chunk(_event(text)) for text in texts), b"0\r\n\r\n"]),), then=then)

    @staticmethod
    def garbage(content: bytes = b"SSH-2.0-OpenSSH_9.6\r\n\r\n") -> Wire:
        """Something that is not HTTP."""
        return Wire((content,), then="close")

    @staticmethod
    def huge_body(size: int) -> Wire:
        """A body of *size* bytes (a multiple of 1024), all of them spaces."""
        return Wire(_Repeated(_head(_JSON, framing=f"Content-Length: {size}"), b" " * 1024, times=size // 1024))

    @staticmethod
    def endless(text: str = "word ", *, pace: float = 0.0) -> Wire:
        """A stream that continues until the client disconnects; ``ModelRequest.pieces_sent`` says how far it got."""
        piece = _chunk(_event(json.dumps(delta_event(text))))
        return Wire(_Repeated(_head(_SSE), piece), pace=pace)


@attrs.frozen
class _Repeated:
    """A head and then the same piece so many times, or endlessly; can be iterated any number of times."""

    head: bytes
    piece: bytes
    times: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        repeated = itertools.repeat(self.piece) if self.times is None else itertools.repeat(self.piece, self.times)
        return itertools.chain([self.head], repeated)


def _head(content_type: str, *, status: int = 200, framing: str = "Transfer-Encoding: chunked") -> bytes:
    return f"HTTP/1.1 {status} Scripted\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _whole(body: bytes, *, status: int = 200, content_type: str = _JSON, headers: Sequence[str] = ()) -> bytes:
    framing = "\r\n".join([f"Content-Length: {len(body)}", *headers])
    return _head(content_type, status=status, framing=framing) + body


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
