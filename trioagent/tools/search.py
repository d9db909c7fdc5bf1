"""Full-text search: which lines of which notes match a query best. Pure: the notes are passed in.

Words are compared without case, accents and common English endings; ``_`` separates words. A line scores by the query's
words in it, rare words more (the idf of BM25, over notes and a little over lines), those in its label ("- **Label**:")
more, then by those in the note's path, in the headings above it, in adjacent lines and elsewhere in the note. A
line that is a question scores less, or it would outrank its answer. A line with the query as a phrase comes first.

The notes whose lines are scored are selected by a scan of all notes (:func:`scanned`), or from an
index (:func:`indexed`), with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from math import log
from typing import AnyStr, NamedTuple

from ._index import Part
from ._markdown import fences
from ._names import is_attachment
from ._table import Table
from ._text import NoteText, cut, fold, fold_bytes, words_of

CONSIDERED = 60
"""Notes whose lines are scored, at least five for each requested line: those with the best rank by their words."""

_HEADING = re.compile(r" {0,3}(#{1,6})\s")
_LABEL = re.compile(r"\s*[-*+] \*\*(.+?)\*\*:")
_VOWEL = re.compile("[aeiouy]")
_STOP = frozenset(
    "a an and are as at be been by did do does for from had has have he her his how i in is it its me my of on or "
    "our s she that the their them they this to was we were what when where which who whom whose why will with you "
    "your".split()
)
_WHOLE, _PREFIX = 1.0, 0.4
# Chosen on one half of LoCoMo and of memories with questions, measured on the other: `python -m benchmarks search`.
_IN_PATH, _IN_HEADING, _IN_NOTE = 0.7, 0.6, 0.15
_IN_LABEL = 0.3  # in the label of "- **Label**: value"
_NEARBY = 0.5  # in the line before or after; not for a line with a label, which is a fact of its own
_LINE_RARITY = 0.1  # the share of a word's weight by the lines that have it, the rest by the notes
_QUESTION = 0.8  # of a line that is a question: otherwise it outranks its own answer
_PHRASE = 100.0
_TEXT_CHARS = 300
_MAX_WORDS = 50
_EMPTY = {False: "", True: "(attachment)"}


def stem(word: str) -> str:
    """A folded word without plural, ``-ing``, ``-ed`` and final ``e``, so that forms of one word are equal."""
    if len(word) < 4 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "xes", "zes", "ches", "shes")) else word[:-1]
    for ending in ("ing", "ed"):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) >= 3 and _VOWEL.search(base):
            word = base[:-1] if base[-1] == base[-2] and base[-1] not in "lsz" else base
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _part(stemmed: str) -> str:
    """The common start of every form of a word ("cities" contains "cit", not "city"), and of close relatives."""
    if len(stemmed) >= 8 and stemmed.isascii():
        return stemmed[:-2]  # employer and employee, allergic and allergy
    return stemmed[:-1] if stemmed.endswith("y") and len(stemmed) > 3 else stemmed


class Query:
    """A query's words, as they are compared with notes."""

    def __init__(self, text: str) -> None:
        words = words_of(fold(text))[:_MAX_WORDS]
        stems = list(dict.fromkeys(stem(word) for word in words if word not in _STOP))
        self.stems: list[str] = stems or list(dict.fromkeys(map(stem, words)))
        self.parts: list[str] = [_part(each) for each in self.stems]
        self.phrase: str = " ".join(words) if len(words) > 1 else ""
        ordered = sorted(set(self.parts), key=len, reverse=True)
        self._form = re.compile(rf"(?<![^\W_])({'|'.join(map(re.escape, ordered))})[^\W_]*") if ordered else None
        self._anywhere = [(i, part) for i, part in enumerate(self.parts) if not part.isascii()]
        self._numbers: dict[str, list[int]] = {}
        for i, part in enumerate(self.parts):
            self._numbers.setdefault(part, []).append(i)

    def hits(self, folded: str) -> dict[int, float]:
        """The numbers of the words that are in a text, each with how well it matches."""
        found: dict[int, float] = {}
        if self._form is None:
            return found
        for match in self._form.finditer(folded):
            word = match[0]
            form = stem(word)
            for i, part in enumerate(self.parts):
                if word.startswith(part):
                    if form == self.stems[i]:
                        found[i] = _WHOLE
                    elif len(part) > 3 and i not in found:
                        found[i] = _PREFIX
        for i, part in self._anywhere:  # scripts without blanks between words
            if i not in found and part in folded:
                found[i] = _WHOLE
        return found


class Candidates(NamedTuple):
    """The notes whose lines are to be scored, and the weight of each word of the query."""

    paths: list[str]
    weights: list[float]


def considered(limit: int) -> int:
    """For how many notes lines are scored to find so many lines."""
    return max(CONSIDERED, 5 * limit)


def scanned(notes: Iterable[tuple[str, bytes]], asked: Query, most: int) -> Candidates:
    """Select candidates by a scan of *notes*, the path and content of every note."""
    total, having = 0, [0] * len(asked.parts)
    found: list[tuple[str, int, int]] = []
    parts = [(1 << i, part, part.encode() if part.isascii() else None) for i, part in enumerate(asked.parts)]
    for path, data in notes:
        total += 1
        mask = named = 0
        name = fold(path)
        if data.isascii():
            lowered = data.lower()
            for bit, _, ascii_part in parts:
                if ascii_part is not None and _has_word(lowered, ascii_part):
                    mask |= bit
        else:
            text = fold_bytes(data)
            for bit, part, ascii_part in parts:
                if part in text if ascii_part is None else _has_word(text, part):
                    mask |= bit
        for bit, part, ascii_part in parts:
            if part in name if ascii_part is None else _has_word(name, part):
                named |= bit
        mask |= named
        if mask:
            found.append((path, mask, named))
            for i in range(len(having)):
                having[i] += mask >> i & 1
    weights = _weights(total, having)
    if len(found) <= most:
        return Candidates([path for path, _, _ in found], weights)
    worth = {masks: _promise(*masks, weights) for masks in {(mask, named) for _, mask, named in found}}
    order = sorted((-worth[mask, named], path) for path, mask, named in found)
    return Candidates([path for _, path in order[:most]], weights)


def indexed(parts: list[Part], asked: Query, most: int) -> Candidates:
    """The same from an index: all notes that have the same words are ranked at once."""
    total, having = 0, [0] * len(asked.parts)
    classes: list[tuple[int, int, Part, int]] = []
    for part in parts:
        segment, live = part
        total += (segment.readable & live).bit_count()
        in_path = [_having(segment.path_words, each) & segment.readable & live for each in asked.parts]
        anywhere = [
            _having(segment.words, each) & live | named for each, named in zip(asked.parts, in_path, strict=True)
        ]
        together = 0
        for i, members in enumerate(anywhere):
            having[i] += members.bit_count()
            together |= members
        split = [(0, 0, together)]
        for i in range(len(asked.parts)):
            split = [
                (mask | has << i, named | says << i, rest)
                for mask, named, members in split
                for has, says, rest in (
                    (0, 0, members & ~anywhere[i]),
                    (1, 0, members & anywhere[i] & ~in_path[i]),
                    (1, 1, members & in_path[i]),
                )
                if rest
            ]
        classes += [(mask, named, part, members) for mask, named, members in split]
    weights = _weights(total, having)
    classes.sort(key=lambda each: -_promise(each[0], each[1], weights))
    order: list[tuple[float, str]] = []
    for mask, named, part, members in classes:
        promise = _promise(mask, named, weights)
        if len(order) >= most and -promise > order[-1][0]:
            break
        order += [(-promise, path) for path in islice(part.segment.paths(members), most)]
    return Candidates([path for _, path in sorted(order)[:most]], weights)


def _has_word(text: AnyStr, part: AnyStr) -> bool:
    """Whether a word in a folded text begins with *part*."""
    at = text.find(part)
    while at > 0 and text[at - 1 : at].isalnum():
        at = text.find(part, at + 1)
    return at >= 0


def _having(words: Table, part: str) -> int:
    """The notes with a word that begins with *part*, or contains it in a script without blanks between words."""
    return words.beginning(part) if part.isascii() else words.containing(part)


def _weights(total: int, having: list[int]) -> list[float]:
    return [log(1 + (total - n + 0.5) / (n + 0.5)) for n in having]


def _promise(mask: int, named: int, weights: list[float]) -> float:
    """The rank of a note with these words. Words in its path count once more: the note about a thing comes before
    notes that only name it."""
    return sum(w * ((mask >> i & 1) + _IN_PATH * (named >> i & 1)) for i, w in enumerate(weights))


def best_lines(found: Candidates, notes: Iterable[tuple[str, bytes]], asked: Query, limit: int) -> list[str]:
    """The best lines, as ``path:line: text``.

    Args:
        notes: path and content of the notes that were found.
    """
    looked_at = [_ScannedNote(path, NoteText(data).shown, asked) for path, data in notes]
    total, having = 0, [0] * len(asked.parts)
    for note in looked_at:
        total += len(note.lines)
        for hit in note.hits:
            for number in hit:
                having[number] += 1
    # A word that is in few notes may be in every line of them, and vice versa, so both count.
    rarity = [
        (1 - _LINE_RARITY) * one + _LINE_RARITY * other
        for one, other in zip(found.weights, _weights(total, having), strict=True)
    ]
    scored: list[tuple[float, str, int, str]] = []
    for note in looked_at:
        scored += note.scored(asked, found.weights, rarity)
    scored.sort(key=lambda hit: (-hit[0], hit[1], hit[2]))
    return [
        f"{path}:{line}: {_excerpt(text, asked) or _EMPTY[is_attachment(path)]}"
        for _, path, line, text in scored[:limit]
    ]


class _ScannedNote:
    """A note's lines, and which words of a query are in them."""

    def __init__(self, path: str, text: str, asked: Query) -> None:
        self.path, self.lines = path, text.split("\n")
        self.folded = text.lower().split("\n") if text.isascii() else [fold(line) for line in self.lines]
        self.coded = fences(self.lines) if "```" in text or "~~~" in text else None
        self.hits = [asked.hits(line) if any(part in line for part in asked.parts) else {} for line in self.folded]

    def scored(
        self, asked: Query, weights: Sequence[float], rarity: Sequence[float]
    ) -> list[tuple[float, str, int, str]]:
        """The lines that have a word of the query, with their scores; the first line if only the path has one.

        Args:
            weights: the weight of each word by how many notes have it.
            rarity: the same by notes and lines.
        """
        in_path = asked.hits(fold(self.path.removesuffix(".md")))
        in_note: dict[int, float] = {}
        for hit in self.hits:
            in_note.update(hit)
        above: list[tuple[int, dict[int, float]]] = []
        headed: dict[int, float] = {}  # the best match of each word in the headings above
        found: list[tuple[float, str, int, str]] = []
        for i, line in enumerate(self.lines):
            is_code = self.coded is not None and self.coded[i]
            heading = _HEADING.match(line) if line.lstrip(" ").startswith("#") and not is_code else None
            hits = self.hits[i]
            if heading:
                while above and above[-1][0] >= len(heading[1]):
                    above.pop()
                headed = _best([hit for _, hit in above])
            if hits:
                score = self._score(i, asked, rarity, in_path, headed, in_note)
                found.append((score, self.path, i + 1, line.strip()))
            if heading:
                above.append((len(heading[1]), hits))
                headed = _best([headed, hits])
        if not found and in_path:
            score = sum(weights[i] * _IN_PATH * fit for i, fit in in_path.items())
            first = next((i for i, line in enumerate(self.lines) if line.strip()), 0)
            found.append((score, self.path, first + 1, self.lines[first].strip()))
        return found

    def _score(
        self,
        i: int,
        asked: Query,
        rarity: Sequence[float],
        in_path: dict[int, float],
        headed: dict[int, float],
        in_note: dict[int, float],
    ) -> float:
        hits, folded = self.hits[i], self.folded[i]
        label = _LABEL.match(folded)
        labelled = asked.hits(label[1]) if label else {}
        before = self.hits[i - 1] if i and not label else {}
        after = self.hits[i + 1] if i + 1 < len(self.hits) and not label else {}
        score = 0.0
        for number, weight in enumerate(rarity):
            fit = hits.get(number, 0.0)
            if number in labelled:
                fit += _IN_LABEL
            fit += _IN_PATH * in_path.get(number, 0.0) / (1 + fit)
            fit += _IN_HEADING * headed.get(number, 0.0) / (1 + fit)
            if number not in hits:
                nearby = max(before.get(number, 0.0), after.get(number, 0.0))
                fit = max(fit, _NEARBY * nearby)
            score += weight * (fit or _IN_NOTE * in_note.get(number, 0.0))
        score /= 1 + 0.05 * log(1 + len(folded))
        if folded.endswith("?"):
            score *= _QUESTION
        if asked.phrase and asked.phrase in " ".join(words_of(folded)):
            score += _PHRASE
        return score


def _best(hits: list[dict[int, float]]) -> dict[int, float]:
    best: dict[int, float] = {}
    for hit in hits:
        for number, fit in hit.items():
            best[number] = max(fit, best.get(number, 0.0))
    return best


def _excerpt(text: str, asked: Query) -> str:
    """A long line around its first hit."""
    if len(text) <= _TEXT_CHARS:
        return text
    folded = fold(text)
    first = min((at for at in (folded.find(part) for part in asked.parts) if at >= 0), default=0)
    start = max(0, min(first - _TEXT_CHARS // 3, len(text) - _TEXT_CHARS))
    return ("…" if start else "") + cut(text[start:], _TEXT_CHARS)
