"""Front matter: the YAML between ``---`` lines at a note's start, as far as notes use it. It never raises. Pure.

It reads ``key: value``, quoted texts, numbers, booleans, null, ``[a, b]``, lists of ``- item`` lines, texts after ``|``
and ``>``, and comments. Other YAML (nested values, ``{a: b}``, anchors, tags) is kept as text. ``problem``
names what YAML does not accept, or what is not a list of properties.
"""

from __future__ import annotations

import re

from ._text import BOM

Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]

_KEY = re.compile(
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^']|'')*)'"
    r"|([^\s:#\-\[\]{},\"'@`%](?:[^:#]|:(?=\S)|(?<=\S)#)*?|-[^\s:#](?:[^:#]|:(?=\S)|(?<=\S)#)*?))"
    r"\s*:(?=[ \t]|\Z)"
)
_MAX_KEY = 500
_BLOCK_TEXT = re.compile(r"([|>])(?:[+-]?[1-9]?|[1-9][+-])(?:[ \t]+#.*)?\Z")
_COMMENT = re.compile(r"(?:^|[ \t])#.*\Z")
_INT = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})\Z")
_FLOAT = re.compile(r"[+-]?\d{1,17}\.\d{1,17}(?:[eE][+-]?\d{1,2})?\Z")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


def front_matter(text: str) -> tuple[dict[str, Value] | None, str, str | None]:
    """Split a note.

    Returns:
        the values (None if there is no front matter), the text after it, and what is wrong with it (None if nothing).
    """
    lines = text.removeprefix(BOM).replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != "---":
        return None, text, None
    end = next((i for i in range(1, len(lines)) if lines[i].rstrip() in ("---", "...")), None)
    if end is None:
        return None, text, "the front matter that starts in line 1 is not closed by a line ---"
    values, problem = _read(lines[1:end])
    return values, "\n".join(lines[end + 1 :]), problem


def _read(lines: list[str]) -> tuple[dict[str, Value], str | None]:
    values: dict[str, Value] = {}
    problem: str | None = None
    text = "\n".join(lines).strip()
    if text.startswith("{") and text.endswith("}"):
        return values, None  # all of it is one { }, which is usually valid
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _key(line)
        if not match:
            problem = problem or f"line {i + 1} of the front matter is no 'key: value': {line.strip()[:80]!r}"
            continue
        key = next(group for group in match.group(1, 2, 3) if group is not None)
        rest = line[match.end() :].strip()
        below = i
        while below < len(lines) and (not lines[below].strip() or lines[below][0] in " \t" or _is_item(lines[below])):
            below += 1
        if rest[:1] in ("[", "{"):  # inside brackets, indentation does not count
            still_open = _open_brackets(" ".join([rest, *lines[i:below]]))
            while below < len(lines) and still_open > 0 and not _key(lines[below]):
                still_open += _open_brackets(lines[below])
                below += 1
        block = lines[i:below]
        value, wrong = _value(rest, block)
        if wrong:
            problem = problem or f"line {i + 1} of the front matter: {wrong}"
        if key in values:
            problem = problem or f"line {i + 1} of the front matter repeats {key!r}"
        values[key] = value
        i = below
    return values, problem


def _is_item(line: str) -> bool:
    return line.startswith("- ") or line.rstrip() == "-"


def _value(rest: str, block: list[str]) -> tuple[Value, str | None]:
    """The value after ``key:`` with the lines below it that belong to it, and what is wrong with it."""
    filled = [line.strip() for line in block if line.strip() and not line.strip().startswith("#")]
    marked = _BLOCK_TEXT.match(rest)
    if marked:
        text = [line.strip() for line in block]
        while text and not text[-1]:
            text.pop()
        return ("\n" if marked[1] == "|" else " ").join(text), None
    if not _COMMENT.sub("", rest).strip() and filled:
        if all(_is_item(line) for line in filled):
            items = [_scalar(line[1:].strip(), is_item=True) for line in filled]
            return [value for value, _ in items], next((wrong for _, wrong in items if wrong), None)
        return "\n".join(filled), None
    if rest.startswith("[") and not rest.startswith("[["):
        inner = _COMMENT.sub("", " ".join([rest, *filled])).strip()
        if not inner.endswith("]"):
            return inner, "a list is not closed by ]"
        items = [_scalar(part, is_item=True) for part in _split(inner[1:-1])]
        return [value for value, _ in items], next((wrong for _, wrong in items if wrong), None)
    return _scalar(" ".join([rest, *filled]) if filled else rest)


def _key(line: str) -> re.Match[str] | None:
    """The key at a line's start."""
    return _KEY.match(line.rstrip(), 0, _MAX_KEY)


def _open_brackets(text: str) -> int:
    return text.count("[") + text.count("{") - text.count("]") - text.count("}")


def _split(inner: str) -> list[str]:
    """Split at commas outside quotes and brackets."""
    parts, depth, quote, start = list[str](), 0, "", 0
    for i, char in enumerate(inner):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and not inner[start:i].strip():
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "," and depth <= 0:
            parts.append(inner[start:i].strip())
            start = i + 1
    last = inner[start:].strip()
    return [*parts, last] if last else parts


def _scalar(text: str, is_item: bool = False) -> tuple[Scalar, str | None]:
    """A single value; an item of a list may also be a mapping or list of its own, which is kept as text."""
    if is_item and (_key(text) or text.startswith(("- ", "[", "{"))):
        return text, None
    if text[:1] in ('"', "'"):
        quote = text[0]
        closed = re.match(r'"((?:[^"\\]|\\.)*)"' if quote == '"' else r"'((?:[^']|'')*)'", text)
        if not closed or _COMMENT.sub("", text[closed.end() :]).strip():
            return text, f"a quoted text is not closed by {quote}"
        inner = closed[1]
        if quote == "'":
            return inner.replace("''", "'"), None
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), inner), None
    plain = _COMMENT.sub("", text).strip()
    if plain.casefold() in _WORDS:
        return _WORDS[plain.casefold()], None
    if _INT.match(plain):
        return int(plain), None
    if _FLOAT.match(plain):
        return float(plain), None
    if plain[:1] in ("@", "`", "%"):
        return plain, f"a text cannot begin with {plain[0]}; put it in quotes"
    if not plain.startswith("{") and (": " in plain or plain.endswith(":")):
        return plain, "a text cannot have a colon and a blank in it; put it in quotes"
    return plain, None
