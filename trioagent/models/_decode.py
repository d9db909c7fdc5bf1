"""Decodes a model server's JSON to validated parts of an answer. Pure.

Only the fields that are used are checked, each for its type; others are ignored. Hand-written instead of a cattrs
converter because it runs for every event of every answer (see docs/performance.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from .._errors import ModelProtocolError, ModelStatusError
from .._json_steps import decode_steps, text_steps
from .._messages import Usage
from .._server_behaviour import is_failed, status_of_code
from .._steps import STEP_NAMES, Steps

_EXCERPT_CHARS = 200
_NOT_LOADED: Any = object()
_MAX_VALUES = 1_000_000  # in one answer, including members that are not used
_CODE_CHARS = 200
_MAX_DEPTH, _MAX_PARTS = 6, 10  # of an error object, in the search for its code, type, status and reason
_CODE_MEMBERS = ("code", "type", "status", "reason", "quotaId", "error_type", "error_code", "__type")
_NESTED_MEMBERS = ("error", "innererror", "message", "detail", "details", "violations", "metadata", "errors")
_MESSAGE_MEMBERS = ("error", "message", "detail", "errors", "msg", "Message", "error_description", "status_msg")
_DELAY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
# "Please try again in 1m26.4s", "Please retry after 9 seconds": from servers and gateways without a header for it.
_SAID_DELAY = re.compile(
    r"(?:try again|retry|wait)\b[^.0-9]{0,20}"
    r"((?:[0-9]{1,6}(?:\.[0-9]{1,9})? ?(?:ms|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z]) ?)+)",
    re.IGNORECASE,
)
_PART_OF_DELAY = re.compile(r"([0-9.]+) ?(ms|m|s)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "m": 60.0, "s": 1.0}
_SAID_CHARS = 2000
_QUOTED_CHARS = 64 * 1024  # of an error within an error, which is read at once
_LONGEST_SAID = 120.0  # a longer one is no promise: Azure says a day where it means a minute
_DETAIL_CHARS = 500
_PINGS = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})  # as gateways keep a stream open
_NO_REASON = frozenset({"", "null", "None"})  # of an answer that continues, as gateways spell a missing value
_MAX_TOKENS = 10**9  # in one answer; larger counts are implausible, and their sums overflow the journal's integers
_MAX_COST = 1e6
_DECODER = json.JSONDecoder()


class Piece(NamedTuple):
    """The content of a stream's chunk or of a whole answer. ``finish_reason`` is "" until the server gives one."""

    text: str = ""
    finish_reason: str = ""
    usage: Usage | None = None
    reasoning: str = ""


class Joiner:
    """Joins texts that may be split within a surrogate pair, which JSON can spell as two halves."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str, *, final: bool = False) -> str:
        """*text* as valid Unicode, preceded by what was held back before.

        A lone surrogate at its end is held back, unless this is the *final* text. Others, which have no UTF-8 form,
        are replaced.
        """
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff" and not final:
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode_chunk(data: str, loaded: Any = _NOT_LOADED) -> str | Piece | None:
    """One event of a streamed answer.

    Args:
        loaded: the result of `load_steps` for a large *data*.

    Returns:
        Its text, if there is nothing else in it, as in nearly every event; or None if it adds nothing to the answer,
        such as a ping.

    Raises:
        ModelStatusError: the server reports an error in the middle of its stream.
        ModelProtocolError: it is anything but a chat completion chunk.
    """
    if not data or data.isspace():
        return None
    chunk = _loads(data) if loaded is _NOT_LOADED else loaded
    if type(chunk) is not dict:
        if data.strip("[] \n").lower() in _PINGS:
            return None
        chunk = _object(chunk, data)
    choices = chunk.get("choices")
    if not choices:
        _raise_if_error(chunk, data)
        usage = _usage(chunk.get("usage"))
        return None if usage is None else Piece(usage=usage)
    # The rest is `_piece`, inlined for an event of text alone.
    if "error" not in chunk and "usage" not in chunk and type(choices) is list:
        choice = choices[0]
        if type(choice) is dict and choice.get("finish_reason") is None and "error" not in choice:
            delta = choice.get("delta")
            if type(delta) is dict and len(delta) == 1 and type(content := delta.get("content")) is str:
                return content
    return _piece(chunk, data, whole=False)


def _raise_if_error(answer: dict[str, Any], source: str) -> None:
    """Raise the error that *answer*, which has no choices or an "error" member, is in any known format."""
    if answer.get("error"):
        _raise_reported(answer["error"], source)
    said = answer.get("base_resp")  # MiniMax
    if isinstance(said, dict) and said.get("status_code"):
        words = str(said.get("status_msg") or "").split()
        _raise_reported({"message": " ".join(words), "code": "_".join(words)}, source)
    # Older vLLM servers; llama.cpp in a field ``error:``; FastAPI.
    bare = (isinstance(answer.get("message"), str) and "code" in answer) or isinstance(answer.get("detail"), str)
    if answer.get("object") == "error" or bare:
        _raise_reported(answer, source)


def load_steps(text: str) -> Steps[Any]:
    """The value of a large *text*, or None if it is not JSON."""
    try:
        return (yield from decode_steps(text, strict=False, max_values=_MAX_VALUES))
    except ValueError:
        return None


def decode_answer(body: bytes) -> Steps[Piece]:
    """A whole answer in one JSON body. Raises as :func:`decode_chunk`."""
    text = yield from text_steps(body, "utf-8-sig", "replace")
    return _piece(_object((yield from load_steps(text)), text), text, whole=True)


class ErrorDetail(NamedTuple):
    """The contents of an error response.

    Attributes:
        message: for people, shortened: the JSON's message, or else the text itself.
        code: its fields for programs: code, type, status and reason, joined by blanks.
        param: the parameter of the request that it names.
        retry_after: seconds to wait, if the body has them.
    """

    message: str
    code: str = ""
    param: str = ""
    retry_after: float | None = None


def error_detail(body: bytes) -> ErrorDetail:
    """Parse an error response in any format."""
    text = body.decode("utf-8-sig", errors="replace")
    return _detail_of(_loads(text), text)


def _detail_of(loaded: object, source: str) -> ErrorDetail:
    if isinstance(loaded, list) and loaded:  # Gemini wraps its errors in an array
        loaded = loaded[0]
    parts = list(_parts_of(loaded))
    message = _message_of(loaded) or source
    # OpenRouter quotes the provider's message, which says more than its own.
    if quoted := next((part["raw"] for part in parts if isinstance(part.get("raw"), str)), ""):
        said = _loads(quoted) if len(quoted) <= _QUOTED_CHARS else None
        parts += _parts_of(said)
        message = f"{message}: {_message_of(said) or quoted}"
    if message is not source and message[:1] in ("{", "[") and len(message) <= _QUOTED_CHARS:
        said = _loads(message)  # a gateway's message that is the server's whole error
        parts += _parts_of(said)
        message = _message_of(said) or message
    retry_after = _said_delay(message[:_SAID_CHARS])
    message = _shorten(message)
    code, params = list[str](), list[str]()
    for part in parts:
        code += [str(part[name]) for name in _CODE_MEMBERS if isinstance(part.get(name), str)]
        if isinstance(part.get("param"), str):
            params.append(part["param"])
        if isinstance(part.get("loc"), list):  # FastAPI: the place of the problem in the request
            params.append(".".join(str(step) for step in part["loc"] if step != "body"))
        if isinstance(part.get("retryDelay"), str) and (match := _DELAY.fullmatch(part["retryDelay"])):
            retry_after = float(match[1])
    words = " ".join(dict.fromkeys(word for word in code if word))
    return ErrorDetail(message, _shorten(words, _CODE_CHARS), _shorten(" ".join(params), _CODE_CHARS), retry_after)


def _said_delay(message: str) -> float | None:
    """Seconds that *message* says to wait."""
    match = _SAID_DELAY.search(message)
    if match is None:
        return None
    seconds = sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART_OF_DELAY.findall(match[1]))
    return seconds if seconds <= _LONGEST_SAID else None


def _parts_of(error: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects of an error that may have fields for programs: itself, and objects nested in it."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(error, dict):
        yield error
        for name in _NESTED_MEMBERS:
            yield from _parts_of(error.get(name), depth + 1)
    elif isinstance(error, list):
        for part in error[:_MAX_PARTS]:
            yield from _parts_of(part, depth + 1)


def _loads(text: str) -> Any:
    """The value, or None if *text* is not JSON."""
    try:
        if text.startswith("{"):  # the common case, without a search for white space
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_object(text: str) -> bool:
    """Whether *text*, which is short, is a complete JSON object."""
    return isinstance(_loads(text), dict)


def _object(loaded: Any, text: str) -> dict[str, Any]:
    if isinstance(loaded, list) and len(loaded) == 1:
        loaded = loaded[0]
    if not isinstance(loaded, dict):
        _reject("it is not a JSON object", text)
    return loaded


def _piece(answer: dict[str, Any], source: str, *, whole: bool) -> Piece:
    choices = answer.get("choices")
    if answer.get("error") or not choices:
        _raise_if_error(answer, source)
    if not isinstance(choices, list):
        _reject("it has no list of choices", source)
    usage = _usage(answer.get("usage"))
    if not choices:
        _reject("its list of choices is empty", source)
    choice = choices[0]
    if not isinstance(choice, dict):
        _reject("its first choice is not an object", source)
    if choice.get("error"):
        _raise_reported(choice["error"], source)
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        _reject("its finish_reason is not a text", source)
    if reason in _NO_REASON:
        reason = None
    if reason is not None and reason != "stop" and is_failed(reason):
        problem = f"it ended with finish_reason {reason!r}"
        raise ModelProtocolError(problem, source[:_EXCERPT_CHARS], reason)
    message = choice.get("delta")
    if message is None:  # some gateways stream messages, and some answer a non-streaming request with deltas
        message = choice.get("message")
    if message is None and whole and reason is None:
        _reject("its first choice has no message", source)
    if message is None:
        return Piece("", reason or "", usage)
    if not isinstance(message, dict):
        _reject("its message is not an object", source)
    content = message.get("content")
    text = _text(content, source)
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not reasoning and isinstance(content, list):
        reasoning = _thoughts(content)
    return Piece(text, reason or "", usage, reasoning if isinstance(reasoning, str) else "")


def _text(content: object, source: str) -> str:
    """``content`` as text: a string, null, or a list of parts, of which the text parts are used."""
    if content is None:
        return ""
    if isinstance(content, list):
        if len(content) > STEP_NAMES:
            _reject(f"its content has {len(content)} parts", source)
        return "".join(_text(part.get("text"), source) for part in content if _is_text_part(part, source))
    if not isinstance(content, str):
        _reject("its content is not a text", source)
    return content


def _thoughts(content: list[Any]) -> str:
    """The parts of ``content`` that are thoughts, as Mistral sends them: a text, or parts that are texts."""
    found = [part.get("thinking") for part in content if isinstance(part, dict) and part.get("type") == "thinking"]
    inside = [item for thought in found for item in (thought if isinstance(thought, list) else [thought])]
    texts = [item.get("text") if isinstance(item, dict) else item for item in inside[:STEP_NAMES]]
    return "".join(text for text in texts if isinstance(text, str))


def _is_text_part(part: object, source: str) -> bool:
    if not isinstance(part, dict):
        _reject("a part of its content is not an object", source)
    return part.get("type") == "text"


def _usage(usage: object) -> Usage | None:
    """The server's token counts, or None if they are missing or implausible, which does not invalidate the answer."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
        return None
    if max(prompt, completion) > _MAX_TOKENS:
        return None
    cost = usage.get("cost")  # an extension of OpenRouter and others
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not 0 <= cost < _MAX_COST:
        cost = 0
    return Usage(prompt_tokens=prompt, completion_tokens=completion, requests=1, cost=float(cost))


def _raise_reported(error: object, source: str) -> NoReturn:
    """Raise the error that a server reports inside a response with status 200."""
    detail = _detail_of(error, source)
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal():
        code = int(code) if len(code) == 3 else None
    status = code if type(code) is int and 400 <= code <= 599 else status_of_code(detail.code)
    if status:
        raise ModelStatusError(status, detail.message, detail.retry_after, detail.code, detail.param)
    raise ModelProtocolError(f"the server reports an error: {detail.message}")


def _message_of(error: object) -> str:
    """The message in an error in any known format: ``{"error": {"message": …}}``, ``{"detail": …}``, text."""
    for _ in range(6):
        if isinstance(error, list) and error:
            error = error[0]
        if isinstance(error, str):
            return error.strip()
        if not isinstance(error, dict):
            return ""
        error = next((error[name] for name in _MESSAGE_MEMBERS if error.get(name)), None)
    return ""


def _shorten(text: str, limit: int = _DETAIL_CHARS) -> str:
    words = as_shown(" ".join(text[: 4 * limit].split()))
    return words if len(words) <= limit else words[: limit - 1] + "…"


def as_shown(text: str) -> str:
    """*text* with control characters and lone surrogates replaced, safe to print and to store."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def _reject(problem: str, source: str) -> NoReturn:
    raise ModelProtocolError(problem, source[:_EXCERPT_CHARS])
