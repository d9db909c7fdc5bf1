"""Numbers in texts: as digits in any script, with separators, as words, and in dates. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from unicodedata import decimal as digit_value
from unicodedata import normalize

_SEPARATORS = "'’\u00a0\u202f"
# A number begins a word: the 4 of "A4" belongs to a name.
NUMBER = re.compile(rf"(?<![^\W_])\d{{1,3}}(?:[.,{_SEPARATORS}]\d{{3}})+(?:[.,]\d+)?(?!\d)|(?<![^\W_])\d+(?:[.,]\d+)?")
ORDINAL = re.compile(r"(?:st|nd|rd|th|s)\b", re.IGNORECASE)
_GROUPED = re.compile(rf"\d{{1,3}}(?:[.,{_SEPARATORS}]\d{{3}})+")
DATE = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)|(?<!\d)(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?!\d)")
MONTHS = "january february march april may june july august september october november december".split()

_UNITS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: number
    for number, word in zip(
        range(20, 100, 10), "twenty thirty forty fifty sixty seventy eighty ninety".split(), strict=True
    )
}
# "second" is a unit of time as well, but not after a ten.
_ORDINAL_UNITS = {
    word: number
    for number, word in enumerate(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
        "sixteenth seventeenth eighteenth nineteenth".split(),
        3,
    )
}
_ORDINALS_ALONE = {**_ORDINAL_UNITS, **{f"{word[:-1]}ieth": number for word, number in _TENS.items()}}
_ORDINALS: Mapping[str, Mapping[str, int]] = {  # by the word before them
    "tens": {"first": 1, "second": 2} | {word: number for word, number in _ORDINAL_UNITS.items() if number < 10},
    **dict.fromkeys(("", "hundred", "and"), _ORDINALS_ALONE),
}
SCALES: Mapping[str, int] = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_HAN = {char: number for number, char in enumerate("〇一二三四五六七八九")} | {"两": 2, "零": 0}
# A Han numeral is a number before a measure word; elsewhere it is part of another word.
HAN_NUMBER = re.compile(
    r"[〇零一二两三四五六七八九十百]+(?=[个個只隻名条條岁歳年位本辆輛间間次天月日号號口匹人円元块塊])"
)

WORDS: Mapping[str, Mapping[str, int]] = {
    language: {word: number for number, word in enumerate(words.split(), 2)}
    for language, words in {
        "de": "zwei drei vier funf sechs sieben acht neun zehn elf zwolf",
        "fr": "deux trois quatre cinq six sept huit neuf dix onze douze",
        "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce",
        "it": "due tre quattro cinque sei sette otto nove dieci undici dodici",
        "pt": "dois tres quatro cinco seis sete oito nove dez onze doze",
        "nl": "twee drie vier vijf zes zeven acht negen tien elf twaalf",
        "ru": "два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать",
    }.items()
}
"""Number words of other languages, without accents; those of English are read in full (see `spelled_number`)."""


def with_ascii_digits(text: str) -> str:
    """*text* with the digits of every script as ASCII ones, and Han numerals before measure words as digits."""
    text = "".join(
        str(digit_value(char)) if char.isdecimal() and not char.isascii() else char for char in normalize("NFC", text)
    )
    return HAN_NUMBER.sub(lambda match: str(_han_value(match[0])), text)


def readings(number: str) -> list[str]:
    """All possible meanings of a written number, in one spelling each: "1,200" is 1200, or 1.2 with a decimal comma."""
    found = []
    if _GROUPED.fullmatch(number):
        found.append(plain(Decimal(re.sub(r"\D", "", number))))
        if number.count(".") + number.count(",") == 1 and not any(char in number for char in _SEPARATORS):
            found.append(plain(Decimal(number.replace(",", "."))))
        return found
    whole, separator, fraction = number, "", ""
    if (last := max(number.rfind("."), number.rfind(","))) >= 0:
        whole, separator, fraction = number[:last], ".", number[last + 1 :]
    return [plain(Decimal(re.sub(r"\D", "", whole) + separator + fraction))]


# Numbers of two words or more in other languages, the larger one first ("vingt-cinq", "treinta y cinco"). Each
# word is a number in one language, and means nothing else in the others.
_TENS_ELSEWHERE = {
    word: number
    for words in (
        "vingt trente quarante cinquante soixante",
        "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
        "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
        "двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
    )
    for number, word in zip(range(20, 100, 10), words.split(), strict=False)
}
_UNITS_ELSEWHERE = {word: number for words in WORDS.values() for word, number in words.items()} | {
    "un": 1, "une": 1, "uno": 1, "una": 1, "um": 1, "uma": 1, "один": 1, "одна": 1, "duas": 2, "две": 2,
    "treize": 13, "quatorze": 14, "quinze": 15, "seize": 16,
}  # fmt: skip
_JOINED_BY = ("et", "y", "e")


def spelled_number(words: Sequence[str], start: int) -> tuple[int, int]:
    """The number in *words* from *start* on, and how many of them it takes; 0 of them if there is none.

    In languages other than English it reads only numbers of two words or more; `WORDS` has the others.
    """
    number, count = _english_number(words, start)
    return (number, count) if count else _number_elsewhere(words, start)


def _number_elsewhere(words: Sequence[str], start: int) -> tuple[int, int]:
    following = [*words[start : start + 4], "", "", "", ""]
    if following[0] == "quatre" and following[1] in ("vingt", "vingts"):
        tens, place = 80, 2
    elif following[0] in _TENS_ELSEWHERE:
        tens, place = _TENS_ELSEWHERE[following[0]], 1
    else:
        return 0, 0
    if following[place] in _JOINED_BY and following[place + 1] in _UNITS_ELSEWHERE:
        place += 1
    unit = _UNITS_ELSEWHERE.get(following[place], 0)
    if not 0 < unit < (20 if tens in (60, 80) else 10):  # "soixante-dix"
        return tens, place - (following[place - 1] in _JOINED_BY)
    return tens + unit, place + 1


def _english_number(words: Sequence[str], start: int) -> tuple[int, int]:
    """ "Two hundred and five", "twenty-five" in two words, "a hundred" without its "a", "twenty-fifth"."""
    total, current, place, last = 0, 0, start, ""
    while place < len(words):
        word = words[place]
        if word in _UNITS and last in ("", "tens", "hundred", "scale", "and"):
            if last == "tens" and not 0 < _UNITS[word] < 10:
                break
            current, last = current + _UNITS[word], "unit"
        elif word in _TENS and last in ("", "hundred", "scale", "and"):
            current, last = current + _TENS[word], "tens"
        elif word == "hundred" and last in ("", "unit", "tens"):
            current, last = (current or 1) * 100, "hundred"
        elif word in (ordinals := _ORDINALS.get(last, {})):
            return total + current + ordinals[word], place + 1 - start
        elif word in SCALES and last != "and":
            total, current, last = total + (current or 1) * SCALES[word], 0, "scale"
        elif word == "and" and last in ("hundred", "scale") and words[place + 1 : place + 2]:
            if not any(words[place + 1] in known for known in (_UNITS, _TENS, _ORDINALS_ALONE)):
                break
            last = "and"
        else:
            break
        place += 1
    return total + current, place - start


def dates(text: str) -> Iterator[tuple[str, ...]]:
    """The parts of each date in figures: year, day and month; of an ambiguous one both readings."""
    for match in DATE.finditer(text):
        if match[1]:
            options = [(match[1], match[3], match[2])]
        else:
            options = [(match[6], match[4], match[5]), (match[6], match[5], match[4])]
        for year, day, month in options:
            if 1 <= int(month) <= 12 and 1 <= int(day) <= 31:
                yield year, str(int(day)), str(int(month)), MONTHS[int(month) - 1]


def plain(number: Decimal) -> str:
    """*number* in digits, without zeros at the end of its fraction."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _han_value(numeral: str) -> int:
    total = 0
    for part in re.split("(?<=[百十])", numeral):
        scale = {"百": 100, "十": 10}.get(part[-1:], 1)
        digits = part.rstrip("百十")
        value = int("".join(str(_HAN[char]) for char in digits)) if digits else (1 if part else 0)
        total += value * scale
    return total
