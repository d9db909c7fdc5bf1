"""The server's answers as bytes, made once: what a path of the server means, and each answer's pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .episode import answers

EVENT_CHARS = 16
"""Characters of one event of a stream; servers send a token or a few in each."""
TOKEN_CHARS = 4
TALK_PACE = 0.01
"""Seconds between tokens of a server that talks: a hundred a second."""


@dataclass(frozen=True)
class Answer:
    """One answer: pieces sent one after the other, the first after *delay* seconds, the others *pace* apart.

    ``tokens`` is what a piece counts for.
    """

    pieces: list[bytes]
    delay: float
    pace: float = 0.0
    tokens: int = 1


@dataclass(frozen=True)
class Plan:
    """What requests to one path get, by how many answers they hold already; after the last it begins again."""

    whole: list[Answer]
    streamed: list[Answer]


def plan(target: bytes) -> Plan | None:
    """What ``/STYLE/SECONDS/v1/chat/completions`` means, or None for any other path; see :func:`.episode.answers`."""
    parts = target.decode("latin-1").strip("/").split("/")
    if len(parts) != 5 or parts[2:] != ["v1", "chat", "completions"]:
        return None
    try:
        style, delay = parts[0], float(parts[1])
        messages = answers(style)
    except ValueError:
        return None
    if style.startswith("talk"):
        return Plan([_generated(message, delay) for message in messages], [_talked(m, delay) for m in messages])
    whole = [Answer([_body(message)], delay) for message in messages]
    return Plan(whole, [Answer([b"".join(_stream(message, EVENT_CHARS))], delay) for message in messages])


def _generated(message: dict[str, Any], delay: float) -> Answer:
    tokens = -(-len(message["content"]) // TOKEN_CHARS)
    return Answer([_body(message)], delay + tokens * TALK_PACE, tokens=tokens)


def _talked(message: dict[str, Any], delay: float) -> Answer:
    return Answer(list(_stream(message, TOKEN_CHARS)), delay, TALK_PACE)


def json_response(value: object, status: str = "200 OK") -> bytes:
    """A whole response with a JSON body."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _body(message: dict[str, Any]) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": _reason(message), "logprobs": None}
    return json_response({**_FRAME, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def _stream(message: dict[str, Any], chars: int) -> Iterator[bytes]:
    """The head and the events, each an HTTP chunk; the first piece has the head, the last the end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [*_deltas(message, chars), {"finish_reason": _reason(message)}]
    for number, event in enumerate(events):
        choice = {"index": 0, "delta": {}, "finish_reason": None, **event}
        piece = _chunk(json.dumps({**_FRAME, "object": "chat.completion.chunk", "choices": [choice]}))
        yield head + piece if number == 0 else piece
    usage = {**_FRAME, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}
    yield _chunk(json.dumps(usage)) + _chunk("[DONE]") + b"0\r\n\r\n"


def _deltas(message: dict[str, Any], chars: int) -> Iterable[dict[str, Any]]:
    if "tool_calls" in message:
        calls = [{"index": index, **call} for index, call in enumerate(message["tool_calls"])]
        return [{"delta": {"role": "assistant", "content": None, "tool_calls": calls}}]
    text = message["content"]
    pieces = [text[start : start + chars] for start in range(0, len(text), chars)]
    return [{"delta": {"role": "assistant", "content": pieces[0]}}, *({"delta": {"content": p}} for p in pieces[1:])]


def _reason(message: dict[str, Any]) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


def _chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


_FRAME = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "loopback"}
_USAGE = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
