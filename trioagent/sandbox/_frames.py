"""Decodes what a child sends. All of it is treated as hostile.

The only exception that leaves this module is :class:`FrameError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any

import attrs

from .._config import SandboxLimits
from .._json_steps import decode_steps
from .._steps import STEP_BYTES, STEP_NAMES, Steps
from ..tools import DEFAULT_RULES, AccessRules
from ._guest.limits import ERROR_CHARS, HEADER_BYTES, MAX_PATH_CHARS, MAX_READS, NAME_CHARS
from ._guest.wire import DEATH as DEATH
from ._guest.wire import DEATH_MARK as DEATH_MARK
from ._guest.wire import OVERFULL as OVERFULL

MAX_DEPTH = 32
MAX_VALUES = 200_000  # in one frame: checking values takes the host's time, which all blocks share
_VERSION_CHARS = 64
_NOTE_CHARS = 100  # room for the note on its length that a child adds to a text that it cut

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # `json.dumps` would create one per call


class FrameError(Exception):
    """A child sent an invalid frame."""


@attrs.frozen
class Reply:
    locals: dict[str, str]
    error: str
    printed: str
    reads: list[list[str]]  # path, version ("" for none), and "read" or "replaced"
    scanned: int = 0
    complete: bool = False


@attrs.frozen
class Call:
    """The block calls a host tool."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]


def encode(frame: dict[str, object]) -> bytes:
    """A frame for the child.

    Raises:
        TypeError, ValueError: not JSON.
    """
    body = _json(frame).encode("utf-8", "replace")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def encode_code(code: str, tools: Iterable[str], rules: AccessRules = DEFAULT_RULES) -> Steps[list[bytes]]:
    """The frame with a block's code, the names of the host tools and the access rules, in pieces."""
    pieces = [b'{"code":"']
    for start in range(0, len(code), STEP_BYTES):
        piece = _json(code[start : start + STEP_BYTES])[1:-1]
        pieces.append(piece.encode("utf-8", "replace"))
        if start + STEP_BYTES < len(code):
            yield
    rest: dict[str, object] = {"tools": list(tools)}
    if rules is not DEFAULT_RULES and rules != DEFAULT_RULES:
        rest["rules"] = rules.as_data()
    pieces.append(b'",%b' % _json(rest).encode("utf-8", "replace")[1:])
    return [sum(map(len, pieces)).to_bytes(HEADER_BYTES, "big"), *pieces]


def frame_size(header: bytes, limit: int) -> int:
    """The length in a frame's *header*."""
    size = int.from_bytes(header, "big")
    if size > limit:
        raise FrameError(f"a frame of {size} bytes, where at most {limit} are taken")
    return size


def death_status(last_bytes: bytes) -> int | None:
    """The wait status that the zygote appended to a dead child's socket, or None."""
    if len(last_bytes) < DEATH.size:
        return None
    mark, status = DEATH.unpack(last_bytes[-DEATH.size :])
    # A block may forge this note: its value must be a number that the os.W… functions accept.
    return status & (0xFFFF | OVERFULL) if mark == DEATH_MARK else None


def bounded(reply: Reply, limits: SandboxLimits) -> Reply:
    """*reply* within the limits on what a model is shown, in case a block has forged a larger one."""
    values: dict[str, str] = {}
    left = limits.values_chars
    for name, text in reply.locals.items():
        if left <= 0:
            values["..."] = "more variables than fit here"
            break
        name, text = _cut(name, NAME_CHARS), _cut(text, min(limits.value_chars, left))
        values[name] = text
        left -= len(name) + len(text)
    return Reply(
        values,
        _cut(reply.error, ERROR_CHARS),
        _cut(reply.printed, limits.printed_chars),
        reply.reads,
        reply.scanned,
        reply.complete,
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit + _NOTE_CHARS else f"{text[:limit]}… ({len(text)} characters in all)"


def decode(body: bytes) -> Steps[Reply | Call]:
    """Decode one frame, in steps.

    Raises:
        FrameError: for anything but an exact Reply or Call: other keys, duplicate keys, other types, numbers that are
            not finite, deep nesting, more values than a reply needs, text that is not valid Unicode, more or longer
            reads than a child lists.
    """
    try:
        frame = yield from decode_steps(body, max_values=MAX_VALUES, max_depth=MAX_DEPTH, surrogates=False)
    except (ValueError, MemoryError) as error:  # ValueError: bad UTF-8, bad JSON, 5000-digit numbers
        raise FrameError(f"not a frame: {type(error).__name__}") from None
    match frame:
        case {
            "locals": dict() as values,
            "error": str() as problem,
            "printed": str() as printed,
            "reads": list() as reads,
        }:
            scanned, complete = frame.pop("scanned", 0), frame.pop("complete", False)
            types = type(scanned) is int and type(complete) is bool
            # Each is kept for the lifetime of its agent.
            if len(reads) > MAX_READS:
                raise FrameError("more reads than a block may list")
            if len(frame) == 4 and types and (yield from _all(_is_text, values.values())):
                if not (yield from _all(_is_read, reads)):
                    raise FrameError("not a frame: a read that is none, or too long")
                return Reply(values, problem, printed, reads, scanned, complete)
        case {"call": str() as name, "args": list() as args, "kwargs": dict() as kwargs}:
            if len(frame) == 3:
                return Call(name, args, kwargs)
    raise FrameError("not a frame: other fields than an answer has")


def _all(check: Callable[[Any], bool], values: Collection[Any]) -> Steps[bool]:
    if len(values) <= STEP_NAMES:
        return all(map(check, values))
    rest = iter(values)
    while part := list(islice(rest, STEP_NAMES)):
        if not all(map(check, part)):
            return False
        yield
    return True


def _is_read(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 3
        and all(map(_is_text, value))
        and len(value[0]) <= MAX_PATH_CHARS
        and len(value[1]) <= _VERSION_CHARS
        and value[2] in ("read", "replaced")
    )


def _is_text(value: Any) -> bool:
    return type(value) is str
