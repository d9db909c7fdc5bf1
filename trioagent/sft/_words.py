"""Is a fact in a text? By its words, so that an agent may write it down in words of its own. Pure.

The words of a fact are *strong* or *plain*. Strong are numbers and names: words with a digit, number words, and words
with a capital letter, except one that only begins a sentence and is in no name. All others are plain, but for everyday
words ("the", "is", "have", "live"), which say nothing. A text states a fact if it has

- every strong word, and
- `PLAIN_SHARE` of the plain ones: rounded down beside strong ones, which say most, and rounded up without.

Where in the text they are does not matter: a fact may be spread over the notes of several people.

Words are compared without case, accents and endings ("baker", "bakery", "bakeries"), plain ones by their first
`PREFIX` letters too ("allergic", "allergies"), numbers as digits ("two" is 2), and a date such as 2019-03-05 counts as
5 March 2019, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from unicodedata import combining, normalize

import attrs

PLAIN_SHARE = 2 / 3
"""The share of a fact's plain words that a text must have."""

PREFIX = 6
"""So many equal letters at the beginning make two plain words the same."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SHORT_FORM = re.compile(r"(?:['’](?:s|m|re|ve|ll|d)|n['’]t)$")
_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_SENTENCE_END = re.compile(r"(?:^|[.!?:]\s+|\n)[\"'(\[*#>\-\s]*$")
_GOES_ON = re.compile(r"['’]s\b|\s+(?!I\b)[A-Z][^\W\d_]")
_MONTHS = "january february march april may june july august september october november december".split()
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
} | {
    word: str(number)
    for number, word in zip(range(30, 100, 10), "thirty forty fifty sixty seventy eighty ninety".split(), strict=True)
}
_EVERYDAY = frozenset(
    "a about actually after again all also always am an and any anymore are as at back be because been before being "
    "but by can cannot could currently did do does doing each every for from get gets got had has have having he "
    "her hers him his how i if in into is it its itself just know known like live lived lives living longer made "
    "make makes me mine moved my name named no nor not now of off often old on once only or other our ours out own "
    "person really recently remember same she since so some such than that the their theirs them then there these "
    "they thing things this those through to too under until up us used usually very was we went were what when "
    "where which while who whom whose why will with work worked working works would year years you your yours user "
    "called going goes go play plays playing played like likes love loves enjoy enjoys prefer prefers want wants "
    "need needs start started starting began begun become became say says said tell told think thought "
    "born grew".split()
)
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ers", "ery", "ed", "er", "es", "s", "y", "e")
_STEM = 4  # the shortest stem that an ending is taken from


@attrs.frozen
class Words:
    """What a fact is recognised by."""

    strong: frozenset[str]
    plain: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.strong or self.plain)

    def __sub__(self, others: frozenset[str]) -> Words:
        return Words(self.strong - others, self.plain - others)

    def missing(self, text: frozenset[str]) -> list[str]:
        """The words that a text of these words lacks, if it does not state the fact; else none."""
        if not self:
            return ["(nothing to recognise it by)"]
        strong = sorted(self.strong - text)
        plain = sorted(word for word in self.plain - text if _prefix(word) not in text)
        needed = (math.floor if self.strong else math.ceil)(PLAIN_SHARE * len(self.plain))
        return [] if not strong and len(self.plain) - len(plain) >= needed else strong + plain


def words_of(fact: str) -> Words:
    """The strong and plain words of a fact."""
    strong: set[str] = set()
    plain: set[str] = set()
    for match in _WORD.finditer(fact):
        word = _SHORT_FORM.sub("", match[0])
        stem = _stem(word)
        if word.casefold() in _EVERYDAY:
            continue
        (strong if _is_strong(stem, fact, match) else plain).add(stem)
    if not strong and not plain:  # only everyday words: better those than none
        plain = {_stem(match[0]) for match in _WORD.finditer(fact)}
    return Words(frozenset(strong), frozenset(plain - strong))


def adds_to(fact: str, previous: str) -> bool:
    """Whether *fact* has all words of *previous* and more, so that both may hold ("a dog", "a dog and a cat")."""
    new, old = words_of(fact), words_of(previous)
    return (old.strong | old.plain) < (new.strong | new.plain)


def words_in(texts: Iterable[str]) -> frozenset[str]:
    """All words of *texts*, as facts' words are compared."""
    found: set[str] = set()
    for text in texts:
        for match in _WORD.finditer(text):
            stem = _stem(_SHORT_FORM.sub("", match[0]))
            found |= {stem, _prefix(stem)}
        for year, month, day in _DATE.findall(text):
            if 1 <= int(month) <= 12:
                found |= {year, str(int(day)), _stem(_MONTHS[int(month) - 1])}
    return frozenset(found)


def _is_strong(stem: str, text: str, word: re.Match[str]) -> bool:
    """Whether a word is a number, or a name: a capital at a sentence's beginning must go on as one ("Ada Holt")."""
    if any(char.isdigit() for char in stem):
        return True
    if not word[0][0].isupper():
        return False
    return not _SENTENCE_END.search(text, 0, word.start()) or _GOES_ON.match(text, word.end()) is not None


def _prefix(stem: str) -> str:
    """The mark that stands for all words with that beginning; none for short ones."""
    return f"{stem[:PREFIX]}-" if len(stem) >= PREFIX else stem


def _stem(word: str) -> str:
    folded = "".join(char for char in normalize("NFKD", word.casefold()) if not combining(char))
    if folded in _NUMBERS:
        return _NUMBERS[folded]
    if folded[:1].isdigit():
        return re.sub(r"^(\d+)(?:st|nd|rd|th)$", r"\1", folded)
    for ending in _ENDINGS:
        if folded.endswith(ending) and len(folded) - len(ending) >= _STEM:
            return folded[: -len(ending)]
    return folded
