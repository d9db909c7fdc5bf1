"""Decodes a model server's JSON to validated pieces of an answer. Pure.

Only the fields that are used are checked, each for its type; others are ignored. Hand-written instead of a cattrs
converter because it runs for every event of every answer (see docs/performance.md).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from .._errors import ModelProtocolError, ModelStatusError
from .._messages import Usage

_EXCERPT_CHARS = 200
_DETAIL_CHARS = 500
_MAX_TOKENS = 10**9  # of one answer; larger counts are implausible, and their sums overflow the journal's integers
_MAX_COST = 1e6
_DECODER = json.JSONDecoder()


class Piece(NamedTuple):
    """The content of a stream's chunk or of a whole answer. ``finish_reason`` is "" until the server gives one."""

    text: str = ""
    finish_reason: str = ""
    usage: Usage | None = None


def decode_chunk(data: str) -> Piece:
    """One event of a streamed answer.

    Raises:
        ModelStatusError: the server reports an error with a status in the middle of its stream.
        ModelProtocolError: it is anything but a chat completion chunk.
    """
    return _piece(_object(data), "delta", data, may_be_empty=True)


def decode_answer(body: bytes) -> Piece:
    """A whole answer in one JSON body. Raises as :func:`decode_chunk`."""
    text = body.decode(errors="replace")
    return _piece(_object(text), "message", text, may_be_empty=False)


def error_detail(body: bytes) -> str:
    """The message of an error response for people, shortened: the JSON's message, or else the text itself."""
    text = body.decode(errors="replace")
    return _shorten(_message_of(_loads(text)) or text)


def _loads(text: str) -> Any:
    """The value, or None if *text* is not JSON."""
    try:
        if text.startswith("{"):  # the usual case, which needs no search for white space
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(text: str) -> dict[str, Any]:
    loaded = _loads(text)
    if not isinstance(loaded, dict):
        _reject("it is not a JSON object", text)
    return loaded


def _piece(answer: dict[str, Any], holder: str, source: str, *, may_be_empty: bool) -> Piece:
    if answer.get("error"):
        _raise_reported(answer["error"], source)
    choices = answer.get("choices")
    if not isinstance(choices, list):
        if answer.get("object") == "error":  # an error in the shape of older vLLM servers, without an "error" member
            _raise_reported(answer, source)
        _reject("it has no list of choices", source)
    usage = _usage(answer.get("usage"))
    if not choices:
        if not may_be_empty:
            _reject("its list of choices is empty", source)
        return Piece(usage=usage)
    choice = choices[0]
    if not isinstance(choice, dict):
        _reject("its first choice is not an object", source)
    if choice.get("error"):
        _raise_reported(choice["error"], source)
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        _reject("its finish_reason is not a text", source)
    if reason == "error":
        _reject("it ended with finish_reason 'error'", source)
    message = choice.get(holder)
    if message is None and may_be_empty:
        return Piece("", reason or "", usage)
    if not isinstance(message, dict):
        _reject(f"its {holder} is not an object", source)
    return Piece(_text(message.get("content"), source), reason or "", usage)


def _text(content: object, source: str) -> str:
    """``content`` as text: a string, null, or a list of parts of which the text parts count."""
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(_text(part.get("text"), source) for part in content if _is_text_part(part, source))
    if not isinstance(content, str):
        _reject("its content is not a text", source)
    if content.isascii():
        return content
    # JSON can escape a lone surrogate, which has no UTF-8 form.
    return content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_text_part(part: object, source: str) -> bool:
    if not isinstance(part, dict):
        _reject("a part of its content is not an object", source)
    return part.get("type") == "text"


def _usage(usage: object) -> Usage | None:
    """The server's token counts, or None if they are missing or implausible: that does not invalidate the answer."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
        return None
    if max(prompt, completion) > _MAX_TOKENS:
        return None
    cost = usage.get("cost")  # which OpenRouter, among others, adds
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not 0 <= cost < _MAX_COST:
        cost = 0
    return Usage(prompt_tokens=prompt, completion_tokens=completion, requests=1, cost=float(cost))


def _raise_reported(error: object, source: str) -> NoReturn:
    """Raise the error that a server reports inside a response with status 200."""
    message = _shorten(_message_of(error) or source)
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal():
        code = int(code) if len(code) == 3 else None
    if type(code) is int and 400 <= code <= 599:
        raise ModelStatusError(code, message)
    raise ModelProtocolError(f"the server reports an error: {message}")


def _message_of(error: object) -> str:
    """The message in an error in any known format: ``{"error": {"message": …}}``, ``{"detail": …}``, text."""
    for _ in range(4):
        if isinstance(error, str):
            return error
        if not isinstance(error, dict):
            return ""
        error = error.get("error") or error.get("message") or error.get("detail")
    return ""


def _shorten(text: str, limit: int = _DETAIL_CHARS) -> str:
    words = as_shown(" ".join(text[: 4 * limit].split()))
    return words if len(words) <= limit else words[: limit - 1] + "…"


def as_shown(text: str) -> str:
    """*text* with control characters and lone surrogates replaced, safe to print and to store."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def _reject(problem: str, source: str) -> NoReturn:
    raise ModelProtocolError(problem, source[:_EXCERPT_CHARS])
