"""Find the JSON in a model's answer, which may think aloud, fence it, and talk around it. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import attrs

_MAX_BROKEN = 1000  # each costs time in proportion to the text before it: json counts its lines
_THOUGHTS = re.compile(r".*</think>", re.DOTALL | re.IGNORECASE)


@attrs.frozen
class FoundJson:
    """What JSON a text holds.

    Attributes:
        values: the decoded values, in order; nested ones are not listed on their own.
        problem: why there are none, or "".
    """

    values: tuple[Any, ...]
    problem: str = ""


def find_json(text: str, *, openings: str = "{") -> FoundJson:
    """The JSON values that begin with one of *openings*, or the whole text if that is JSON of any kind.

    What stands before the last ``</think>`` counts only if nothing comes after it.
    """
    whole = _decode_whole(text)
    if whole is not None:
        return whole
    thoughts = _THOUGHTS.match(text)  # anchored: searched for, it would be tried from every character
    spoken = _scan(text[thoughts.end() :] if thoughts else text, openings)
    if spoken.values:
        return spoken
    anywhere = _scan(text, openings)
    return anywhere if anywhere.values else spoken


def _decode_whole(text: str) -> FoundJson | None:
    try:
        return _checked([_DECODER.decode(text.strip())])
    except (ValueError, RecursionError):
        return None


def _scan(text: str, openings: str) -> FoundJson:
    """Decode at each opening. A broken value is left where it broke, so that its parts are not taken for it."""
    opening = re.compile(f"[{re.escape(openings)}]")
    values, problem, start, broken = [], "it holds no JSON", 0, 0
    while broken < _MAX_BROKEN and (match := opening.search(text, start)) is not None:
        begin = match.start()
        try:
            value, start = _DECODER.raw_decode(text, begin)
            values.append(value)
        except json.JSONDecodeError as error:
            start, broken = max(begin + 1, error.pos), broken + 1
            if error.pos > begin + 1 or error.pos >= len(text):  # not just a brace in prose
                problem = f"its JSON is broken: {error.msg} (line {error.lineno}, column {error.colno})"
        except (ValueError, RecursionError) as error:
            # A constant that is not JSON, a number of too many digits, or nesting without end.
            deep = isinstance(error, RecursionError)
            problem = "its JSON is nested too deeply" if deep else f"its JSON is broken: {error}"
            break
    return _checked(values) if values else FoundJson((), problem)


def _checked(values: list[Any]) -> FoundJson:
    """Drop what no file and no request could hold: half a surrogate pair, which JSON can spell."""
    good = [value for value in values if _encodes(value)]
    return FoundJson(tuple(good), "" if good else "a text in it holds half a surrogate pair")


def _encodes(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
