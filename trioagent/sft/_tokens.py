"""The words and numbers of a text, in order: each number, time and month with what it can mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from unicodedata import category, combining, name, normalize

import attrs

from .._numbers import DATE, MONTHS, NUMBER, ORDINAL, SCALES, readings, spelled_number
from ._figures import (
    CODES,
    FRACTION,
    MONTH_OF,
    PARTS,
    SIGNS,
    THOUSANDS,
    TIME,
    clock,
    fraction,
    hours_named,
    spelled,
    time_of_day,
)

# Scripts that have no blanks between words: Thai and its neighbours, Japanese, Chinese.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4b\ua980-\ua9c0\u3005\u3041-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
)
# Marks within words: accents that have no letter of their own, the points of Hebrew and Arabic, the vowels of Indic
# scripts, and joiners. No letters to `re`, they would cut words into pieces.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u07a6-\u07b0\u0900-\u0963\u0971-\u0dff"
    "\u0f18-\u0f3f\u0f71-\u0fbc\u200c\u200d"
)
_LETTERS = rf"[^\W_{UNSPACED}]+(?:[{_MARKS}]+[^\W_{UNSPACED}]*)*"
WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
_UNIT = re.compile(rf"[^\W\d_{UNSPACED}]+")
_SHORT_FORM = re.compile(r"(?:['’](?:s|m|re|ve|ll|d)|n['’]t)$")
_THOUSANDS = re.compile(r"-?\d+(?:\.\d+)?k")
_SIGN = re.compile(f"[{''.join(map(re.escape, SIGNS))}]")
_MINUS = re.compile(r"(?:^|(?<=[\s(\[:=*_]))[-−](?=\d)", re.MULTILINE)
_BEGINNINGS_OF_TIMES = frozenset({"half", "quarter", "a"})
_BESIDE_MONTHS = frozenset({"of", "the", "de", "del", "di", "do", "den"})
_MEANS_NOTHING = ("HEART", "FACE WITH", "SMILING", "GRINNING", "HAND", "THUMBS", "SPARKLES", "PARTY POPPER")
_NAME_FILLER = frozenset("face sign symbol of with and black white heavy red green blue emoji".split())
_EMOJI = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")


@attrs.frozen
class Token:
    """A word or a number in a text; what a number or a month can mean are its ``readings``, the likeliest one first."""

    word: str
    start: int
    end: int
    readings: tuple[str, ...] = ()


def is_number(word: str) -> bool:
    """Whether *word*, as it is compared, is a number or a time."""
    return word.removeprefix("-")[:1].isdecimal()


def numbers_meant(word: str) -> tuple[str, ...]:
    """The numbers that say the same as the number *word*: of a full hour, of thousands ("10k"), of an ordinal."""
    if word in ("first", "second"):
        return ("1" if word == "first" else "2",)
    if _THOUSANDS.fullmatch(word):
        return (word[:-1], spelled(Decimal(word[:-1]) * 1000))
    return hours_named(word) if ":" in word else ()


def tokens(text: str) -> Iterator[Token]:
    """The words and numbers of a text, in order; *text* has ASCII digits."""
    return iter(_with_months(_with_spelled_numbers(text, list(_apart(text)))))


def _apart(text: str) -> Iterator[Token]:
    """As `tokens`, each word by itself."""
    patterns = (DATE, TIME, FRACTION, NUMBER, _MINUS, WORD, _SIGN)
    matches = [
        (match.start(), priority, match)
        for priority, pattern in enumerate(patterns)
        for match in pattern.finditer(text)
    ]
    matches.sort()
    end, minus = 0, ""
    for start, _, match in matches:
        if start < end:
            continue
        if match.re is DATE:
            found = list(_date(match))
        elif match.re is TIME:
            found = [Token(match[0], match.start(), match.end(), meant)] if (meant := time_of_day(match)) else []
        elif match.re is FRACTION:
            found = [Token(match[0], match.start(), match.end(), meant)] if (meant := fraction(match)) else []
        elif match.re is NUMBER:
            found = list(_number(text, match))
        elif match.re is _MINUS:
            minus, end = "-", match.end()
            continue
        elif match.re is _SIGN:
            found = [Token(SIGNS[match[0]], match.start(), match.end())]
        elif match[0][0].isdigit() and (NUMBER.match(text, match.start()) or FRACTION.match(text, match.start())):
            continue  # the number has been taken out of it
        else:
            word = _SHORT_FORM.sub("", match[0])
            found = [Token(CODES.get(word.casefold(), word), match.start(), match.end())]
        if found and minus:
            below = [minus + one for one in found[0].readings]
            above = found[0].readings if _begins_line(text, found[0].start - 1) else ()  # it may be a list's mark
            found[0] = attrs.evolve(found[0], readings=(*below, *above))
            minus = ""
        yield from found
        end = found[-1].end if found else end


def _begins_line(text: str, place: int) -> bool:
    return text[place - 1 : place] in ("", "\n")


def _number(text: str, match: re.Match[str]) -> Iterator[Token]:
    """A number, and the unit that stands right behind it."""
    end, meant = match.end(), tuple(readings(match[0]))
    suffix, unit = ORDINAL.match(text, end), _UNIT.match(text, end)
    if suffix is not None:
        end = suffix.end()
        if suffix[0].lower() in ("st", "nd"):
            meant = ({"1": ("first",), "2": ("second",)}.get(match[0], ())) + meant
    elif THOUSANDS.match(text, end):
        end += 1
        meant = (f"{meant[0]}k", *(spelled(Decimal(one) * 1000) for one in meant), *meant)
        unit = None
    yield Token(match[0], match.start(), end, meant)
    if suffix is None and unit is not None:
        yield Token(unit[0], end, unit.end())


def _date(match: re.Match[str]) -> Iterator[Token]:
    """The year, day and month of a date in figures; of one whose order is not known the day and month together."""
    groups = [group for group in range(1, 7) if match[group]]
    numbers = [int(match[group]) for group in groups]
    year, day, month = (0, 2, 1) if groups[0] == 1 else (2, 0, 1)
    if year and numbers[0] <= 12 < numbers[1]:
        day, month = month, day
    if year and "." not in match[0] and max(numbers[:2]) <= 12 and numbers[0] != numbers[1]:
        meant: tuple[str, ...] = (f"{numbers[0]}/{numbers[1]}", str(numbers[0]), str(numbers[1]))
        yield Token(match[0][:-5], match.start(), match.end(groups[1]), meant)
        yield Token(match[groups[2]], *match.span(groups[2]), (str(numbers[2]),))
        return
    for place, number in enumerate(numbers):
        meant = (str(number),)
        if place == month and 1 <= number <= 12:
            meant = (stem(MONTHS[number - 1]), *meant)
        yield Token(match[groups[place]], *match.span(groups[place]), meant)


def _with_spelled_numbers(text: str, apart: Sequence[Token]) -> Iterator[Token]:
    """*apart*, what several words say joined to one number."""
    words = [folded(token.word) for token in apart]
    place = 0
    while place < len(apart):
        meant, count = _spoken_time(apart, words, place)
        if not count:
            meant, count = _spoken_number(apart, words, place)
        if count:
            last = apart[place + count - 1]
            yield Token(text[apart[place].start : last.end], apart[place].start, last.end, meant)
        else:
            yield apart[place]
        place += max(count, 1)


def _spoken_number(apart: Sequence[Token], words: Sequence[str], place: int) -> tuple[tuple[str, ...], int]:
    """The number that begins at *place*, and how many tokens it takes: "minus two and a half", "2.5 million"."""
    if words[place] == "half" and words[place + 1 : place + 2] in (["a"], ["an"], ["of"], ["the"]):
        return (spelled(PARTS["half"]),), 1
    minus = words[place] in ("minus", "negative") and place + 1 < len(apart)
    place += minus
    figures = bool(apart[place].readings) and re.fullmatch(r"-?\d+(?:\.\d+)?", apart[place].readings[0]) is not None
    if figures:
        value, taken = Decimal(apart[place].readings[0]), 1
        if place + 1 < len(words) and (scale := SCALES.get(words[place + 1])):
            value, taken = value * scale, 2
    else:
        number, taken = spelled_number(words, place)
        value = Decimal(number)
    if not taken:
        return (), 0
    value, more = _with_parts(value, words, place + taken)
    if figures and taken + more == 1 and not minus:
        return (), 0  # as it is, with all that it can mean
    return (("-" if minus else "") + spelled(value),), minus + taken + more


def _with_parts(value: Decimal, words: Sequence[str], place: int) -> tuple[Decimal, int]:
    """*value* with the parts of one that words name from *place* on, and how many they are: "and a half", "thirds"."""
    first, second, third = [*words[place : place + 3], "", "", ""][:3]
    if first == "and" and second in ("a", "one") and third in PARTS:
        return value + PARTS[third], 3
    if first == "and" and second in ("two", "three", "four") and third in PARTS and third.endswith("s"):
        return value + {"two": 2, "three": 3, "four": 4}[second] * PARTS[third], 3
    if first in PARTS and 0 < value < 10 and first.endswith("s") == (value > 1):
        return value * PARTS[first], 1
    return value, 0


def _spoken_time(apart: Sequence[Token], words: Sequence[str], place: int) -> tuple[tuple[str, ...], int]:
    """The time that begins at *place*, and how many tokens it takes: "half past seven", "a quarter to 8 pm"."""
    if words[place] not in _BEGINNINGS_OF_TIMES:
        return (), 0
    start = place
    if words[place : place + 2] == ["a", "quarter"]:
        place += 1
    minutes = {"half": 30, "quarter": 15}.get(words[place])
    if minutes is None or words[place + 1 : place + 2] not in (["past"], ["to"]):
        return (), 0
    before = words[place + 1] == "to"
    if place + 2 >= len(words) or (before and minutes == 30):
        return (), 0
    hour, taken = spelled_number(words, place + 2)
    end = apart[place + 1 + taken].end if taken else 0
    if not taken and apart[place + 2].readings:
        hours = [int(one) for one in apart[place + 2].readings if one.isdigit() and 0 < int(one) < 13]
        hour, taken, end = hours[0] if hours else 0, 1, apart[place + 2].end
    if not taken or not 0 < hour < 13:
        return (), 0
    half = re.search(r"([ap])[.]?m\b", apart[place + 1 + taken].word, re.IGNORECASE)
    if half is None and place + 2 + taken < len(words) and apart[place + 2 + taken].start - end <= 1:
        half = re.fullmatch(r"([ap])m", words[place + 2 + taken])
        taken += half is not None
    if before:
        hour, minutes = (hour - 2) % 12 + 1, 60 - minutes
    return clock(hour, minutes, half[1].lower() if half else ""), place + 2 + taken - start


def _with_months(found: Iterator[Token]) -> list[Token]:
    """*found*, in which a word beside a number that can be a month's name is that month."""
    all_found = list(found)
    for place, token in enumerate(all_found):
        month = MONTH_OF.get(folded(token.word)) if not token.readings else None
        if month and (_is_number_at(all_found, place, -1) or _is_number_at(all_found, place, 1)):
            all_found[place] = attrs.evolve(token, readings=(stem(month),))
    return all_found


def _is_number_at(found: Sequence[Token], place: int, step: int) -> bool:
    place += step
    if 0 <= place < len(found) and found[place].word.casefold() in _BESIDE_MONTHS:
        place += step
    return 0 <= place < len(found) and any(map(is_number, found[place].readings))


def emoji_of(text: str) -> list[str]:
    """The pictures in a text that name something; feelings only if there are no others."""
    found = [char for char in dict.fromkeys(_EMOJI.findall(text)) if category(char) == "So"]
    named = [char for char in found if not any(word in name(char, "") for word in _MEANS_NOTHING)]
    return named or found


def is_emoji(word: str) -> bool:
    return _EMOJI.fullmatch(word) is not None


def names_of_emoji(emoji: str) -> list[str]:
    """The words of a picture's name, one of which says the same."""
    return [word for word in re.split(r"[\W_]+", name(emoji, "").lower()) if word and word not in _NAME_FILLER]


def folded(word: str) -> str:
    """*word* without case and accents."""
    if word.isascii():
        return word.lower()
    bare = "".join(char for char in normalize("NFKD", word.casefold()) if not combining(char))
    return normalize("NFC", bare)  # Hangul is taken apart by NFKD


_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ers", "ery", "ed", "er", "es", "s", "y", "e")
_STEM = 4  # the shortest stem that an ending is taken from, but for a plural's "s"
_PLURAL = re.compile(r"\w{2}[^\W_siu]s")
_IRREGULAR = {
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "yearly": "year",
    "children": "child",
    "wives": "wife",
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
}


def stem(word: str) -> str:
    """*word*, which is English, without case, accents and ending."""
    bare = folded(word)
    bare = _IRREGULAR.get(bare, bare)
    if _PLURAL.fullmatch(bare):
        return bare[:-1]
    for ending in _ENDINGS:
        if bare.endswith(ending) and len(bare) - len(ending) >= _STEM:
            return bare[: -len(ending)]
    return bare
