"""Find the JSON in a model's answer, which may also contain thoughts, fences and prose. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import attrs

_MAX_BROKEN = 1000  # each takes time proportional to the text before it: json counts its lines
_THOUGHTS = re.compile(r".*</think>", re.DOTALL | re.IGNORECASE)


@attrs.frozen
class FoundJson:
    """The JSON in a text.

    Attributes:
        values: the decoded values, in order; nested ones are not listed separately.
        problem: why there are none, or "".
    """

    values: tuple[Any, ...]
    problem: str = ""


def find_json(text: str, *, openings: str = "{") -> FoundJson:
    """The JSON values that begin with one of *openings*, or the whole text if that is JSON of any kind.

    Text before the last ``</think>`` counts only if nothing follows it.
    """
    whole = _decode_whole(text)
    if whole is not None:
        return whole
    thoughts = _THOUGHTS.match(text)  # anchored: a search would start at every character
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
    """Decode at each opening. After a broken value, the scan continues where it broke, so its parts do not count."""
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
            # A constant that is not JSON, a number with too many digits, or excessive nesting.
            deep = isinstance(error, RecursionError)
            problem = "its JSON is nested too deeply" if deep else f"its JSON is broken: {error}"
            break
    return _checked(values) if values else FoundJson((), problem)


def _checked(values: list[Any]) -> FoundJson:
    """Drop texts that no file or request could contain: a lone surrogate, which JSON can spell."""
    good = [value for value in values if _encodes(value)]
    return FoundJson(tuple(good), "" if good else "a text in it holds a lone surrogate")


def _encodes(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
