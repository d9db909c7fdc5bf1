"""Redaction: removing withheld texts from a text, in whatever spelling they appear. Pure."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from unicodedata import category, combining, normalize

from ._errors import InvalidInputError

Rule = str | re.Pattern[str] | Callable[[str], str]
Span = tuple[int, int]

REPLACEMENT = "[withheld]"
_CUT = re.compile(r"… \([\d,]+ (?:more )?(?:characters|bytes|items)(?: in all)?(?:; [^()\n]{0,80})?\)\Z")
_TAIL = 256  # characters at the end of a text that was cut: a withheld text may begin there without being recognisable
_SHORTEST = 6  # letters and digits of a text that is also searched between other characters, and in other encodings
# With any number of backslashes: a repr may be of a repr.
_ESCAPE = re.compile(r"\\+(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt'\"]))?")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Removes what rules withhold.

    Args:
        rules: by name. A text is found in any case, with and without its accents, with any white space between its
            words. If it has six letters and digits or more it is also found backwards, spelled out with other
            characters in between, as hexadecimal digits and as base64. A regular expression is searched in the text
            as it is, and with its escapes decoded (a ``repr`` has ``\\n`` for a line's end). A function gets the text
            and returns the redacted text.
        replacement: the text in place of what was removed.
    """

    def __init__(self, rules: Sequence[tuple[str, Rule]], replacement: str = REPLACEMENT) -> None:
        self._rules, self._replacement = tuple(rules), replacement
        self._tail = max([_TAIL, *(2 * len(rule) for _, rule in rules if isinstance(rule, str))])

    def __bool__(self) -> bool:
        return bool(self._rules)

    def redact(self, text: str, *, cut: bool = False) -> tuple[str, Counter[str]]:
        """*text* without what is withheld, and how often each rule found something.

        Args:
            cut: the text may end in the middle of a withheld text, so its end is removed as well. This is also assumed
                if it ends like a value that was cut (see `SandboxLimits`).
        """
        found: Counter[str] = Counter()
        if not text or not self._rules:
            return text, found
        mark = _CUT.search(text)
        end = len(text) if mark is None else mark.start()
        spans: list[Span] = []
        decoded: _View | None = None
        for name, rule in self._rules:
            if callable(rule):
                continue
            decoded = _decoded(text) if decoded is None else decoded
            own = set(_matches(text, decoded, rule))
            found[name] += len(_merged(own))
            spans.extend(own)
        if mark is not None or cut:
            spans.append((max(0, end - self._tail), end))
        text = self._without(text, _merged(spans))
        for name, rule in self._rules:
            if callable(rule):
                shown = rule(text)
                if not isinstance(shown, str):
                    raise InvalidInputError(name, f"must return text, not {type(shown).__name__}")
                found[name] += shown != text
                text = shown
        return text, +found

    def _without(self, text: str, spans: Sequence[Span]) -> str:
        parts, at = [], 0
        for start, end in spans:
            parts += [text[at:start], self._replacement]
            at = end
        return "".join([*parts, text[at:]])


class _View:
    """A text in another spelling; *starts* and *ends* give the position of each of its characters in the original."""

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self.text, self._starts, self._ends = text, starts, ends

    def span(self, start: int, end: int) -> Span:
        return self._starts[start], self._ends[end - 1]

    def changed(self, spell: Callable[[str], str]) -> _View:
        """With each character respelled."""
        if self.text.isascii() and spell is _folded:  # every character stays one character
            return _View(self.text.lower(), self._starts, self._ends)
        pieces = [spell(char) for char in self.text]
        at = [index for index, piece in enumerate(pieces) for _ in piece]
        return _View("".join(pieces), [self._starts[index] for index in at], [self._ends[index] for index in at])


def _decoded(text: str) -> _View:
    """*text* with its escapes decoded, without invisible characters."""
    plain = "\\" not in text
    if plain and text.isascii():
        return _View(text, range(len(text)), range(1, len(text) + 1))
    places: Sequence[int] = range(len(text))
    if not text.isascii():
        places = [place for place in places if text[place].isascii() or category(text[place]) != "Cf"]
        text = "".join([text[place] for place in places])
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(text):
        match = None if plain or text[at] != "\\" else _ESCAPE.match(text, at)
        end = at + 1 if match is None else match.end()
        for char in normalize("NFKC", text[at] if match is None else _unescaped(match)):
            if category(char) != "Cf":
                chars.append(char)
                starts.append(places[at])
                ends.append(places[end - 1] + 1)
        at = end
    return _View("".join(chars), starts, ends)


def _unescaped(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if number is None:
        return _ESCAPED.get(match[4], match[4]) if match[4] else "\\"
    code = int(number, 16)
    return chr(code) if code < 0x110000 else match[0]


def _matches(text: str, decoded: _View, rule: str | re.Pattern[str]) -> Iterator[Span]:
    if isinstance(rule, re.Pattern):
        yield from (match.span() for match in rule.finditer(text) if match[0])
        if decoded.text is not text:
            yield from (decoded.span(*match.span()) for match in rule.finditer(decoded.text) if match[0])
        return
    words, spelled, coded = _forms(rule)
    folded = decoded.changed(_folded)
    yield from (folded.span(*match.span()) for match in words.finditer(folded.text))
    if spelled is not None:
        views = [folded]
        if "\\" in text:  # an apparent escape may be none if the text is written backwards
            views.append(_View(text, range(len(text)), range(1, len(text) + 1)).changed(_folded))
        for letters in [view.changed(_letters) for view in views]:
            yield from (letters.span(*match.span()) for match in spelled.finditer(letters.text))
    if coded is not None:
        yield from (match.span() for match in coded.finditer(text))


@lru_cache(maxsize=1024)
def _forms(rule: str) -> tuple[re.Pattern[str], re.Pattern[str] | None, re.Pattern[str] | None]:
    """The patterns for a text: its words; its letters and digits in a row and backwards; and its encodings."""
    folded = "".join(map(_folded, normalize("NFKC", rule))).split()
    words = re.compile(r"\s+".join(map(re.escape, folded)))
    letters = ["".join(map(_letters, word)) for word in folded]
    if len("".join(letters)) < _SHORTEST:
        return words, None, None
    coded = "|".join(re.escape(form) for form in dict.fromkeys(_codings(rule)))
    spelled = "[nrt]?".join(map(re.escape, letters))  # an escaped line end's letter may remain without its backslash
    backwards = "[nrt]?".join(re.escape(word[::-1]) for word in reversed(letters))
    return words, re.compile(f"{spelled}|{backwards}"), re.compile(coded)


def _codings(rule: str) -> Iterator[str]:
    for text in (rule, rule.lower(), rule.upper()):
        data = text.encode(errors="replace")
        yield data.hex()
        yield data.hex().upper()
        for shift in range(3):  # its offset in the encoded bytes
            coded = base64.b64encode(bytes(shift) + data).decode()
            usable = coded[(0, 2, 3)[shift] : len(coded.rstrip("=")) - ((shift + len(data)) % 3 > 0)]
            yield usable
            yield usable.replace("+", "-").replace("/", "_")


@lru_cache(maxsize=4096)
def _folded(char: str) -> str:
    """A character without case and accents."""
    return "".join(each for each in normalize("NFKD", char.casefold()) if not combining(each))


def _letters(char: str) -> str:
    return char if char.isalnum() else ""


def _merged(spans: Sequence[Span] | set[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif end > start:
            merged.append((start, end))
    return merged
