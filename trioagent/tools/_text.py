"""Text of notes: bytes to text and back without loss, folding for comparison, and the nearest names to a wrong one."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from difflib import SequenceMatcher

BOM = "\ufeff"
_ESCAPED = re.compile("[\udc80-\udcff]")
_MARKS = re.compile("[\u0300-\u036f]+")
_NOT_ALNUM = re.compile(r"[\W_]+")
_WINDOWS_END = re.compile("\r\n")
_WORD = re.compile(r"[^\W_]+")


class NoteText:
    """A note's bytes, the text a model sees of them (``shown``), and edits to that text applied to the bytes.

    ``shown`` has ``\\n`` line ends, no byte order mark, and U+FFFD for each byte that is not UTF-8. An edit leaves all
    ``shown`` has ``\\n`` line ends, no byte order mark, and U+FFFD for each byte that is not UTF-8. An edit leaves all
    of these unchanged in the bytes it does not touch, and writes new lines with the note's own line end.
    """

    def __init__(self, data: bytes) -> None:
        self.raw: str = data.decode("utf-8", "surrogateescape")
        self.bom: bool = self.raw.startswith(BOM)
        pairs = self.raw.count("\r\n")
        self.newline = "\r\n" if pairs * 2 > self.raw.count("\n") else "\n"
        body = self.raw[1:] if self.bom else self.raw
        self._body = body
        text = body.replace("\r\n", "\n") if pairs else body
        self.shown: str = text if text.isascii() else _ESCAPED.sub("\ufffd", text)

    def splice(self, start: int, end: int, new: str) -> bytes:
        """The note's bytes with ``shown[start:end]`` replaced by *new*."""
        old, new = self.shown[start:end], new.replace("\r\n", "\n")
        # Only the difference is replaced: undecodable bytes and odd line ends in the common part stay unchanged.
        shortest = min(len(old), len(new))
        head = next((i for i in range(shortest) if old[i] != new[i]), shortest)
        left = shortest - head
        tail = next((i for i in range(left) if old[-1 - i] != new[-1 - i]), left)
        middle = new[head : len(new) - tail].replace("\n", self.newline)
        first, last = self._raw_index(start + head), self._raw_index(end - tail)
        return encode(BOM * self.bom + self._body[:first] + middle + self._body[last:])

    def lines(self) -> list[tuple[str, str]]:
        """The raw lines with their line ends, the last one with ``""`` if the note does not end in a line end."""
        parts = self._body.split("\n")
        lines = [(p[:-1], "\r\n") if p.endswith("\r") else (p, "\n") for p in parts[:-1]]
        return [*lines, (parts[-1], "")] if parts[-1] else lines

    def _raw_index(self, index: int) -> int:
        if len(self._body) == len(self.shown):
            return index
        pairs = [match.start() - i for i, match in enumerate(_WINDOWS_END.finditer(self._body))]
        return index + bisect_left(pairs, index)


def encode(text: str) -> bytes:
    """UTF-8, with bytes that were not UTF-8 when read written back as they were. Raises UnicodeEncodeError."""
    return text.encode("utf-8", "surrogateescape")


def shown(raw: str) -> str:
    """A raw line as shown to a model."""
    return raw if raw.isascii() else _ESCAPED.sub("\ufffd", raw)


def fold(text: str) -> str:
    """Without case and accents: equal for words that look the same to a reader."""
    if text.isascii():
        return text.lower()
    for _ in range(2):  # decomposing a letter may reveal a capital: Unicode's compatibility caseless match
        text = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _MARKS.sub("", text))


def words_of(folded: str) -> list[str]:
    """The words of a folded text; ``_`` separates words."""
    return _WORD.findall(folded)


def fold_bytes(data: bytes) -> str:
    """A note's text, folded."""
    return data.lower().decode("ascii") if data.isascii() else fold(data.decode("utf-8", "replace"))


def squash(text: str) -> str:
    """Folded, letters and digits only: ``John_Smith``, ``john smith`` and ``john-smith`` become the same."""
    folded = fold(text).replace("_", "").replace(" ", "")
    return folded if folded.isalnum() else _NOT_ALNUM.sub("", folded)


ROUGHLY = 40
"""How many names are compared letter by letter."""

_COMPARED = 200


def nearest(wanted: str, names: Iterable[tuple[str, str]], limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """The values whose keys are most like *wanted*, best first, by similarity of the squashed texts.

    Args:
        names: pairs (key, value), at most some ten thousands.
        cutoff: the least similarity, 0 to 1, that counts.
    """
    target = comparable(wanted)
    pairs = pairs_asked(target)
    rough: list[tuple[float, str, str]] = []
    for key, value in names:
        name = comparable(key)
        shared = sum(1 for pair in pairs if pair in name)
        if shared:
            rough.append((roughly(shared, target, len(name)), value, name))
    return most_alike(target, rough, limit, cutoff)


def comparable(text: str) -> str:
    """The part of a name that is compared."""
    return squash(text)[:_COMPARED]


def pairs_asked(target: str) -> set[str]:
    """The pairs of neighbouring letters in a comparable text, or its only letter."""
    return {target[i : i + 2] for i in range(len(target) - 1)} or ({target} if target else set())


def roughly(shared: int, target: str, size: int) -> float:
    """How alike *target* and a name of so many letters are that share so many pairs; lower is more alike."""
    return -shared / (len(target) + size)


def most_alike(target: str, rough: Iterable[tuple[float, str, str]], limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """The second half of :func:`nearest`.

    Args:
        rough: of all names, at least the `ROUGHLY` first in order: rough likeness, value, name as it is compared.
    """
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(target)
    scored: list[tuple[float, str]] = []
    for _, value, name in sorted(rough)[:ROUGHLY]:
        matcher.set_seq1(name)
        score = matcher.ratio()
        if min(len(name), len(target)) >= 3 and (target in name or name in target):
            score = max(score, 0.75 + score / 4)
        if score >= cutoff:
            scored.append((-score, value))
    scored.sort()
    return list(dict.fromkeys(value for _, value in scored))[:limit]


def cut(text: str, size: int) -> str:
    """*text*, shortened to *size* characters with a mark that says so."""
    return text if len(text) <= size else f"{text[: size - 1]}…"
