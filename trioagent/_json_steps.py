"""Foreign JSON, decoded in steps (see `_steps`).

Small texts go to `json` as a whole, which is many times faster; larger ones to a decoder that takes them value by value
and yields as `StepBounds` says. Both accept the same texts.
"""

from __future__ import annotations

import codecs
import json
import json.decoder
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ._steps import STEP_BYTES, STEP_NAMES, Steps, run_all_steps

MAX_DEPTH = 100
"""Levels of lists and objects."""
_AS_DEEP_AS_JSON = 1000
CONTAINER = 4
"""The number of values that a list or object counts as: every full garbage collection visits them all in one step."""

_scanstring: Callable[[str, int, bool], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"NaN|-?Infinity")
_MAX_NUMBER = 5000  # characters; Python itself reads no integer of more than 4300 digits
_HIGH = re.compile(r"\\u[dD][89abAB]")
_WORDS: dict[str, object] = {"t": True, "f": False, "n": None}
_SPELLED = {"t": "true", "f": "false", "n": "null"}
_PAIR = 12  # characters of two escape sequences that make one character


class StepBounds(NamedTuple):
    """What one step of decoding may take.

    Attributes:
        values: strings, numbers, keys, lists and objects.
        chars: of the text, no fewer than two pairs of escape sequences have.
        pieces: characters of a string that are scanned first, and next, before a whole step is.
    """

    values: int = STEP_NAMES
    chars: int = STEP_BYTES
    pieces: tuple[int, ...] = (1024, 16 * 1024)


STEP = StepBounds()


def decode_steps(
    data: bytes | str,
    *,
    max_values: float = math.inf,
    max_depth: int = MAX_DEPTH,
    surrogates: bool = True,
    strict: bool = True,
) -> Steps[Any]:
    """Decode *data*, UTF-8 or text.

    Args:
        max_values: how many strings, numbers, keys and so on it may have; a list or object counts as CONTAINER of them.
        max_depth: levels of lists and objects.
        surrogates: whether strings may hold lone surrogates, which have no UTF-8 form.
        strict: refuse duplicate keys (else the last one counts), and numbers that are not finite, such as ``NaN``.

    Raises:
        ValueError: not JSON, or bad UTF-8, or above a limit.
    """
    if len(data) <= STEP_BYTES and _most_values(data) <= min(STEP_NAMES, max_values):
        return _decode_small(data, max_depth, surrogates, strict)
    text = data if isinstance(data, str) else (yield from text_steps(data))
    decoder = StepDecoder(text, max_values=max_values, max_depth=max_depth, surrogates=surrogates, strict=strict)
    return (yield from decoder.document())


def decode_in_thread(data: str | bytes) -> Any:
    """The same value as ``json.loads(data)``, but decoded in steps, so that the thread does not block the event loop.

    Raises:
        ValueError: not JSON, or nested too deep.
    """
    return run_all_steps(decode_steps(data, max_depth=_AS_DEEP_AS_JSON, strict=False))


def _most_values(data: bytes | str) -> int:
    """An upper bound of the values in *data*: a value or a key is the first of all or follows one of these."""
    if isinstance(data, str):
        return 1 + data.count(",") + data.count("[") + data.count("{") + data.count(":")
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{") + data.count(b":")


def _decode_small(data: bytes | str, max_depth: int, surrogates: bool, strict: bool) -> Any:
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        if strict:
            value = _STRICT.decode(text)
        else:
            value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check_inside(value, max_depth, surrogates)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("doubled key")
    return keys


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if len(text) > _MAX_NUMBER:
        raise ValueError("number too long")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number too large")
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite)


def _check_inside(value: object, max_depth: int, surrogates: bool) -> None:
    level: list[object] = [value]
    for depth in range(max_depth + 1):
        below: list[object] = []
        containers = False
        for each in level:
            if type(each) is str:
                if not surrogates:
                    each.encode()  # UnicodeEncodeError is a ValueError
            elif type(each) is dict:
                containers = True
                below.extend(each.keys())
                below.extend(each.values())
            elif type(each) is list:
                containers = True
                below.extend(each)
        if not containers:
            return
        if depth == max_depth:
            raise ValueError("nested too deep")
        level = below


def text_steps(data: bytes, encoding: str = "utf-8", errors: str = "strict") -> Steps[str]:
    """*data* as text; UnicodeDecodeError, a ValueError, as with `bytes.decode`."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    parts = []
    for start in range(0, len(data), STEP_BYTES):
        parts.append(decoder.decode(data[start : start + STEP_BYTES]))
        if start + STEP_BYTES < len(data):
            yield
    parts.append(decoder.decode(b"", final=True))
    return "".join(parts)


class StepDecoder:
    """Decodes one text; the arguments are those of `decode_steps`.

    Incomplete lists and objects are on the stack, each with the key of its next value.

    Args:
        bounds: of each step.
        scan: reads a string, as `json` does.

    Attributes:
        values: how many values, and keys, have been read so far.
    """

    def __init__(
        self,
        text: str,
        *,
        max_values: float = math.inf,
        max_depth: int = MAX_DEPTH,
        surrogates: bool = True,
        strict: bool = True,
        bounds: StepBounds = STEP,
        scan: Callable[[str, int, bool], tuple[str, int]] = _scanstring,
    ) -> None:
        self.values = 0
        self._text, self._at = text, 0
        self._max_depth, self._surrogates, self._strict = max_depth, surrogates, strict
        self._bounds, self._scan = bounds, scan
        self._left = max_values
        self._step_values, self._step_start = 0, 0  # what had been read when the current step began

    def document(self) -> Steps[Any]:
        stack: list[tuple[list[Any] | dict[str, Any], str]] = []
        value: Any = None
        step_values, step_chars, _ = self._bounds
        while True:
            # One value, or the beginning of one.
            char = self._next_char()
            self._count()
            if char in "[{":
                if len(stack) >= self._max_depth:
                    raise ValueError("nested too deep")
                self._at += 1
                self._left -= CONTAINER - 1
                value = [] if char == "[" else {}
                if self._next_char() != ("]" if char == "[" else "}"):
                    key = (yield from self._key(value)) if isinstance(value, dict) else ""
                    stack.append((value, key))
                    continue
                self._at += 1
            elif char == '"':
                value = yield from self._string()
            else:
                value = self._word_or_number(char)
            if self.values - self._step_values >= step_values or self._at - self._step_start >= step_chars:
                self._step_values, self._step_start = self.values, self._at
                yield
            # The value is complete, and with it perhaps its container.
            while stack:
                container, key = stack[-1]
                if isinstance(container, dict):
                    container[key] = value
                else:
                    container.append(value)
                char = self._next_char()
                self._at += 1
                if char == ",":
                    if isinstance(container, dict):
                        stack[-1] = container, (yield from self._key(container))
                    break
                if char != ("}" if isinstance(container, dict) else "]"):
                    raise ValueError(f"no JSON at character {self._at - 1}")
                value = stack.pop()[0]
            else:
                if self._skip_space() != len(self._text):
                    raise ValueError(f"more than one value at character {self._at}")
                return value

    def _count(self) -> None:
        self.values += 1
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many values")

    def _key(self, container: dict[str, Any]) -> Steps[str]:
        if self._next_char() != '"':
            raise ValueError(f"no key at character {self._at}")
        self._count()
        key = yield from self._string()
        if self._strict and key in container:
            raise ValueError("doubled key")
        if self._next_char() != ":":
            raise ValueError(f"no colon at character {self._at}")
        self._at += 1
        return key

    def _skip_space(self) -> int:
        # White space of any length: at most a step of it at once.
        while True:
            found = _SPACE.match(self._text, self._at, self._at + self._bounds.chars)
            assert found is not None
            if found.end() == self._at:
                return self._at
            self._at = found.end()

    def _next_char(self) -> str:
        text, at = self._text, self._at
        if at < len(text) and text[at] in " \t\n\r":
            at = self._skip_space()
        if at >= len(text):
            raise ValueError("the text ends in the middle of a value")
        return text[at]

    def _string(self) -> Steps[str]:
        """The string that begins here, in pieces of at most a step."""
        text, at = self._text, self._at + 1
        pieces: list[str] = []
        while True:
            for size in (*self._bounds.pieces, self._bounds.chars):
                end = _between_escapes(text, at, min(at + size, len(text)))
                piece, stop = self._scan(text[at:end] + '"', 0, True)
                if at + stop <= end:  # the quote was not ours
                    self._at = at + stop
                    pieces.append(piece)
                    return self._checked(pieces)
            if end == len(text):
                raise ValueError("the text ends in the middle of a string")
            pieces.append(piece)
            at = end
            self._step_values, self._step_start = self.values, at
            yield

    def _checked(self, pieces: list[str]) -> str:
        if not self._surrogates:
            for piece in pieces:
                piece.encode()  # UnicodeEncodeError is a ValueError
        return pieces[0] if len(pieces) == 1 else "".join(pieces)

    def _word_or_number(self, char: str) -> object:
        if not self._strict and (found := _NOT_FINITE.match(self._text, self._at)):
            self._at = found.end()
            return float(found[0])
        if char in _SPELLED:
            word = _SPELLED[char]
            if not self._text.startswith(word, self._at):
                raise ValueError(f"no JSON at character {self._at}")
            self._at += len(word)
            return _WORDS[char]
        found = _NUMBER.match(self._text, self._at, self._at + _MAX_NUMBER + 1)
        if found is None or found.end() - self._at > _MAX_NUMBER:
            raise ValueError(f"no JSON at character {self._at}")
        self._at = found.end()
        whole, fraction, exponent = found.groups()
        if fraction is None and exponent is None:
            return int(whole)
        return _finite(found[0]) if self._strict else float(found[0])


def _between_escapes(text: str, start: int, end: int) -> int:
    """The last place, *end* or a little before it, where no escape sequence and no pair of them is cut in two.

    Args:
        start: a place where no sequence is cut.
    """
    at = text.find("\\", max(start, end - 2 * _PAIR), end)
    if at < 0 or end == len(text):
        return end
    before = text[start:at]
    if (len(before) - len(before.rstrip("\\"))) % 2:
        at += 1  # it is escaped itself
    previous = last = at
    while at < end:
        previous, last = last, at
        at += 1 if text[at] != "\\" else 6 if text[at + 1 : at + 2] == "u" else 2
    first_of_pair = _HIGH.match(text, previous) is not None
    return previous if first_of_pair and previous > start else last
