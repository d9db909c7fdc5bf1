"""Whether a fact is in a text, decided by its words, so that an agent may phrase it differently. Pure.

The words of a fact are *strong* or *plain*. Strong are numbers and names: numbers in figures or words, and words with a
capital letter, except one that only begins a sentence and is in no name. All others are plain, except everyday
words ("the", "is", "have", "live"), which are ignored. A text states a fact if it has

- every strong word, and
- `PLAIN_SHARE` of the plain ones: rounded down beside strong ones, which carry most meaning, and rounded up without.

Their positions in the text do not matter: a fact may be spread over the notes of several people.

English words are compared without case, accents and endings ("baker", "bakery", "bakeries"), plain ones by their first
`PREFIX` letters too ("allergic", "allergies"). Words of other languages are compared by their beginnings: two are the
same if they share `SHARED` of the longer one ("Берлин", "Берлине"). Scripts without blanks between words are compared
by pairs of characters: each character must be in a pair that the text has. Numbers are equal however they are
written ("two", "2"; "1,200", "1200"; "2½", "2 1/2"), times and dates too (see `_figures`). Pictures count where a fact
has nothing else, by themselves or by a word of their names.

A text that has the words may still say the opposite: see `contradicts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cached_property

import attrs

from .._numbers import DATE, MONTHS, WORDS, dates, with_ascii_digits
from .._polarity import clauses, is_denied, may_deny
from ._figures import MONTH_OF
from ._languages import ENGLISH, function_words, language_of
from ._tokens import (
    UNSPACED,
    WORD,
    Token,
    emoji_of,
    folded,
    is_emoji,
    is_number,
    names_of_emoji,
    numbers_meant,
    stem,
    tokens,
)

PLAIN_SHARE = 2 / 3
"""The share of a fact's plain words that a text must have, in English."""

OTHER_SHARE = 1 / 2
"""The same in other languages, of which fewer everyday words are known."""

PREFIX = 6
"""The number of equal initial letters that make two plain English words equal."""

SHARED = 0.7
"""The share of the longer one of two words of another language that their common beginning must have."""

_RUN = re.compile(rf"[{UNSPACED}]+")
_DAY_AND_MONTH = re.compile(r"(\d{1,2})/(\d{1,2})")  # in an order that is not known
_TIME_OR_SCORE = re.compile(r"0?(\d{1,2}):0?(\d{1,2})\b")
_HIRAGANA = re.compile("[\u3041-\u309f]+")
_SHORT_WORDS = re.compile("[\uac00-\ud7af\u0900-\u0dff]")  # Korean, and Indic scripts, whose vowels are no letters
_SENTENCE_END = re.compile(r"(?:^|[.!?:]\s+|\n)[\"'(\[*#>\-\s]*$")
_GOES_ON = re.compile(r"['’]s\b|\s+(?!I\b)[A-Z][^\W\d_]")
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu)['’]")
# Everyday words of Chinese, Japanese and Thai, and measure words; longer ones first.
_UNSPACED_EVERYDAY = re.compile(
    "อาศัยอยู่|ทำงาน|ของฉัน|และ|อยู่|ฉัน|ผม|ดิฉัน|ของ|ชื่อ|เป็น|ที่|ใน|มี|"
    "喜欢|喜歡|居住|工作|名字|现在|現在|今年|非常|我们|我們|他们|住在|出生|叫做|わたし|私|僕|"
    "[我你您他她它的地得是在有了和与及也都就很这那个着过吗呢吧住叫爱对只隻名条岁歳位本辆间次不没無无非未号号]"
)
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
_SHORTEST_PART = 3


@attrs.frozen
class Words:
    """The words by which a fact is recognised.

    Attributes:
        strong, plain: in the spelling in which they are compared.
        runs: texts in scripts without blanks, without everyday words.
        language: of the fact: "en", another code, or "" if it is not known.
        ordered: all of them in the order of the fact.
    """

    strong: frozenset[str]
    plain: frozenset[str]
    runs: frozenset[str] = frozenset()
    language: str = attrs.field(default=ENGLISH, eq=False)
    ordered: tuple[str, ...] = attrs.field(default=(), eq=False)

    def __bool__(self) -> bool:
        return bool(self.strong or self.plain or self.runs)

    @property
    def count(self) -> int:
        """How many words there are."""
        return len(self.strong) + len(self.plain) + len(self.runs)

    def without(self, text: Found) -> Words:
        """The words that *text* does not have."""
        return attrs.evolve(
            self,
            strong=frozenset(word for word in self.strong if not text.has(word, self.language)),
            plain=frozenset(word for word in self.plain if not text.has_alike(word, self.language)),
            runs=frozenset(run for run in self.runs if text.uncovered(run)),
        )

    def missing(self, text: Found) -> list[str]:
        """The words that a text of these words lacks, if it does not state the fact; else none."""
        if not self:
            return ["(nothing to recognise it by)"]
        strong = sorted(word for word in self.strong if not text.has(word, self.language))
        plain = sorted(word for word in self.plain if not text.has_alike(word, self.language))
        runs = sorted(run for run in self.runs if _lacks(run, text))
        share = PLAIN_SHARE if self.language == ENGLISH else OTHER_SHARE
        rounded = math.floor if self.strong or self.runs else math.ceil
        needed = rounded(share * len(self.plain))
        return [] if not strong and not runs and len(self.plain) - len(plain) >= needed else strong + plain + runs


class Found:
    """The words of some texts, in the form in which facts' words are compared with them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [with_ascii_digits(text) for text in texts]

    def has(self, word: str, language: str) -> bool:
        """Whether *word*, a name or a number, is in the texts."""
        if word in self._english:
            return True
        if is_emoji(word):
            return any(word in text for text in self._texts) or any(
                stem(part) in self._english for part in names_of_emoji(word)
            )
        if date := _DAY_AND_MONTH.fullmatch(word):
            return self._has_date(date[1], date[2]) or self._has_date(date[2], date[1])
        if any(number in self._english for number in numbers_meant(word)):
            return True
        if (score := _TIME_OR_SCORE.match(word)) and {score[1], score[2]} <= self._english:
            return True
        if is_number(word):
            named = (name for name, number in WORDS.get(language, {}).items() if str(number) == word)
            return word in self._folded or any(name in self._folded for name in named)
        return language != ENGLISH and self._has_similar(word)

    def has_alike(self, word: str, language: str) -> bool:
        """Whether *word*, or one with the same beginning, is in the texts."""
        return self.has(word, language) or (language == ENGLISH and _prefix(word) in self._english)

    def uncovered(self, run: str) -> list[int]:
        """The positions in *run* whose characters are in no pair that the texts have."""
        if len(run) == 1:
            return [] if any(run in text for text in self._texts) else [0]
        covered = {
            place
            for start in range(len(run) - 1)
            if run[start : start + 2] in self._pairs
            for place in (start, start + 1)
        }
        return [place for place in range(len(run)) if place not in covered]

    def _has_date(self, day: str, month: str) -> bool:
        return day in self._english and stem(MONTHS[int(month) - 1]) in self._english

    def _has_similar(self, word: str) -> bool:
        others = (other for start in (word[:2], word[1:3]) for other in self._by_start.get(start, ()))
        return word in self._folded or any(_similar(word, other) for other in others)

    @cached_property
    def _tokens(self) -> list[Token]:
        return [token for text in self._texts for token in tokens(text)]

    @cached_property
    def _english(self) -> frozenset[str]:
        found: set[str] = set()
        for token in self._tokens:
            for form in token.readings or (stem(token.word),):
                found.add(form)
                found.add(_prefix(form))
        for text in self._texts:
            for parts in dates(text):
                found |= {stem(part) for part in parts[:2]} | {stem(parts[3])}
        return frozenset(found)

    @cached_property
    def _folded(self) -> frozenset[str]:
        found = (token for token in self._tokens if not token.readings or not is_number(token.readings[0]))
        words = (folded(token.word) for token in found)
        return frozenset(form for word in words for form in (word, _ELISION.sub("", word)))

    @cached_property
    def _by_start(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in self._folded:
            found.setdefault(word[:2], []).append(word)
            found.setdefault(word[1:3], []).append(word)  # after a prefix of one letter
        return found

    @cached_property
    def _pairs(self) -> frozenset[str]:
        runs = (run for text in self._texts for run in _RUN.findall(text))
        return frozenset(run[start : start + 2] for run in runs for start in range(len(run) - 1))


def words_of(fact: str, language: str | None = None) -> Words:
    """The strong and plain words of a fact; its language is detected if it is not given."""
    fact = with_ascii_digits(fact)
    found = list(tokens(fact))
    if language is None:
        language = language_of([folded(token.word) for token in found if not token.readings])
    strong: set[str] = set()
    plain: set[str] = set()
    ordered: list[str] = []
    for token in found:
        if token.word.casefold() == "one":
            continue  # more often an article than a number
        if token.readings:
            term = token.readings[0]
            strong.add(term)
        elif not (term := _term(token.word, language)):
            continue
        elif term.isdecimal() or _is_name(fact, token):
            strong.add(term)
        else:
            plain.add(term)
        ordered.append(term)
    runs = [run for text in _RUN.findall(fact) for run in _content(text)]
    if not plain and not runs and (language == ENGLISH or not strong) and all(map(is_number, strong)):
        strong.update(emoji_of(fact))  # beside other words they only decorate
    if not strong and not plain and not runs:  # only everyday words: then use those
        plain = {stem(token.word) if language == ENGLISH else folded(token.word) for token in found}
        runs = _RUN.findall(fact)
    return Words(
        frozenset(strong), frozenset(plain - strong), frozenset(runs), language, (*ordered, *runs) or tuple(plain)
    )


def contradicts(fact: str, words: Words, texts: Iterable[str]) -> str:
    """How *texts*, which have the *words* of *fact*, state its opposite; "" if they do not.

    Each clause of the fact is compared with those of the texts that have most of its words: one of these must negate
    what the fact negates, and one must not negate what the fact states.
    """
    said = [clause for text in texts for clause in clauses(text)]
    for part in clauses(fact):
        own = words_of(part, words.language)
        wanted = attrs.evolve(
            own,
            strong=own.strong & (words.strong | words.plain),
            plain=own.plain & (words.strong | words.plain),
            runs=own.runs & words.runs,
        )
        best, most = list[str](), 0
        for clause in said:
            hits = wanted.count - wanted.without(Found([clause])).count
            if hits > most:
                best, most = [], hits
            if hits and hits == most:
                best.append(clause)
        if best and is_denied(part) and not any(may_deny(clause) for clause in best):
            return "without the negation"
        if best and not is_denied(part) and all(is_denied(clause) for clause in best):
            return "only denied"
    return ""


def states(fact: str, texts: Iterable[str]) -> bool:
    """Whether *texts* state *fact*."""
    words, texts = words_of(fact), list(texts)
    return not words.missing(Found(texts)) and not contradicts(fact, words, texts)


def words_in(texts: Iterable[str]) -> Found:
    """All words of *texts*."""
    return Found(texts)


def without_dates(text: str, fact: str) -> str:
    """*text* without dates in figures, whose numbers count nothing, unless *fact* contains a date itself."""
    names = {folded(word) for word in WORD.findall(fact)}
    return text if DATE.search(fact) or names.intersection(MONTH_OF) else DATE.sub(" ", text)


def adds_to(fact: str, previous: str) -> bool:
    """Whether *fact* has all words of *previous* and more, so that both may be true ("a dog", "a dog and a cat")."""
    new, old = words_of(fact), words_of(previous)
    return (old.strong | old.plain | old.runs) < (new.strong | new.plain | new.runs)


def in_order(words: Words, text: str) -> bool:
    """Whether *text* has all of *words* in the fact's own order."""
    said = [form for token in tokens(with_ascii_digits(text)) for form in _forms(token, words.language)]
    place = 0
    for word in words.ordered:
        while place < len(said) and not (said[place] == word or _similar(said[place], word)):
            place += 1
        if place == len(said):
            return False
        place += 1
    return True


def _forms(token: Token, language: str) -> tuple[str, ...]:
    return token.readings or ((stem if language == ENGLISH else folded)(token.word),)


def _term(word: str, language: str) -> str:
    """A word in the spelling in which it is compared; "" for an everyday word."""
    bare = folded(word)
    if language == ENGLISH:
        return "" if word.casefold() in _EVERYDAY else stem(word)
    if (number := WORDS.get(language, {}).get(bare)) is not None:
        return str(number)
    bare = _ELISION.sub("", bare)
    shortest = 2 if _SHORT_WORDS.search(word) else 3
    return "" if bare in function_words(language) or len(bare) < shortest else bare


def _is_name(text: str, token: Token) -> bool:
    """Whether a word has a digit, or is a name: a sentence's first capital must be followed by another ("Ada Holt")."""
    if any(char.isdigit() for char in token.word):
        return True
    if not text[token.start].isupper():
        return False
    return not _SENTENCE_END.search(text, 0, token.start) or _GOES_ON.match(text, token.end) is not None


def _content(run: str) -> list[str]:
    """The significant parts of a text without blanks: hiragana beside other characters are endings."""
    if _HIRAGANA.sub("", run):
        run = _HIRAGANA.sub(" ", run)
    return _UNSPACED_EVERYDAY.sub(" ", run).split()


def _lacks(run: str, text: Found) -> bool:
    """Whether *text* lacks a word of *run*: two adjacent characters, or more than one in five."""
    lacking = text.uncovered(run)
    return len(lacking) > len(run) // 5 or any(place + 1 in lacking for place in lacking)


def _similar(word: str, other: str) -> bool:
    """Whether two words begin alike, as forms of one word do in most languages."""
    if word == other:
        return True
    if word[:1].isdigit() or other[:1].isdigit():
        return False
    shorter, longer = sorted((word, other), key=len)
    if shorter in longer and len(shorter) >= max(_SHORTEST_PART, SHARED * len(longer)):
        return True  # after a prefix, as in Semitic languages
    shared = next((place for place, pair in enumerate(zip(word, other, strict=False)) if pair[0] != pair[1]), None)
    shared = min(len(word), len(other)) if shared is None else shared
    return shared >= max(2 if _SHORT_WORDS.match(word) else 3, math.ceil(SHARED * max(len(word), len(other))))


def _prefix(stem: str) -> str:
    """A mark that represents all words with that beginning; none for short ones."""
    return f"{stem[:PREFIX]}-" if len(stem) >= PREFIX else stem
