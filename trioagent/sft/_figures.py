"""Numbers that are more than digits: fractions, times of day, months, amounts of money; one spelling for each. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from unicodedata import numeric

from .._numbers import MONTHS, plain

_FRACTION_SIGNS = "\u00bc-\u00be\u2150-\u215e"
FRACTION = re.compile(
    rf"(?<![\w/⁄.,])(?:(\d+)(?:[ \u00a0](?=\d{{1,2}}[/⁄])|[ \u00a0]?(?=[{_FRACTION_SIGNS}])))?"
    rf"(?:(\d{{1,2}})[/⁄](\d{{1,3}})(?![\w/⁄])|([{_FRACTION_SIGNS}]))"
)
_DENOMINATORS = frozenset({2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 100})  # "24/7" is no fraction

TIME = re.compile(
    r"(?<![\w:.,/-])(\d{1,2})(?:(?::|[.](?=\d\d ?(?:[ap][.]?m\b|uhr\b)))(\d\d)(?![\d:])(?: ?([ap])[.]?m\b\.?| ?uhr\b)?"
    r"| ?([ap])[.]?m\b\.?| ?(?:uhr\b|o['’]clock\b))",
    re.IGNORECASE,
)

THOUSANDS = re.compile(r"k\b", re.IGNORECASE)  # right behind a number: "50k"

SIGNS: Mapping[str, str] = {
    "$": "dollar",
    "€": "euro",
    "£": "pound",
    "¥": "yen",
    "₹": "rupee",
    "₽": "рубль",
    "%": "percent",
}
"""The words for signs that stand beside a number."""

CODES: Mapping[str, str] = {
    "usd": "dollar",
    "eur": "euro",
    "gbp": "pound",
    "jpy": "yen",
    "inr": "rupee",
    "chf": "franc",
    "pct": "percent",
}

_MONTH_NAMES = (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "januar februar marz april mai juni juli august september oktober november dezember",
    "janner feber mrz apr mai jun jul aug sept okt nov dez",
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
    "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
)
MONTH_OF: Mapping[str, str] = {
    name: month for names in _MONTH_NAMES for name, month in zip(names.split(), MONTHS, strict=True)
} | {"sept": "september"}
"""The English names of months by their names and abbreviations in several languages, without accents.

Some mean other things as well, so that they name months beside a number only.
"""

PARTS: Mapping[str, Decimal] = {
    **dict.fromkeys(("half", "halves"), Decimal(1) / 2),
    **dict.fromkeys(("third", "thirds"), Decimal(1) / 3),
    **dict.fromkeys(("quarter", "quarters"), Decimal(1) / 4),
    **dict.fromkeys(("fifth", "fifths"), Decimal(1) / 5),
    **dict.fromkeys(("eighth", "eighths"), Decimal(1) / 8),
    **dict.fromkeys(("tenth", "tenths"), Decimal(1) / 10),
}
"""English words for parts of one."""


def spelled(number: Decimal) -> str:
    """*number* as it is compared: thirds are rounded, zeros behind the point left out."""
    digits = Context(prec=max(28, number.adjusted() + 10))
    whole = number == number.to_integral_value()
    return plain(number if whole else number.quantize(Decimal("0.0001"), context=digits))


def fraction(match: re.Match[str]) -> tuple[str, ...]:
    """What a `FRACTION` can mean: a number, or its figures, as in a date; nothing if it is none."""
    whole, above, below, sign = match.groups()
    if sign:
        return (spelled(Decimal(whole or 0) + Decimal(numeric(sign)).quantize(Decimal("0.000001"))),)
    if int(below) not in _DENOMINATORS or not 0 < int(above) < int(below):
        return ()
    number = spelled(Decimal(whole or 0) + Decimal(above) / Decimal(below))
    return (number,) if whole else (number, str(int(above)), str(int(below)))


def time_of_day(match: re.Match[str]) -> tuple[str, ...]:
    """What a `TIME` can mean; nothing if it is none."""
    half = match[3] or match[4]
    return clock(int(match[1]), int(match[2] or 0), half.lower() if half else "", sure=match[1].startswith("0"))


def clock(hour: int, minute: int, half: str = "", *, sure: bool = False) -> tuple[str, ...]:
    """The spellings of a time, the likeliest one first; *half* of the day is "a", "p" or "", which *sure* tells.

    "19:30" is sure, "7:30 am/pm" may be one of two.
    """
    if hour > 24 or minute > 59 or (half and not 0 < hour < 13):
        return ()
    if half:
        hour, sure = hour % 12 + (12 if half == "p" else 0), True
    hour %= 24
    either = f"{(hour - 1) % 12 + 1}:{minute:02} am/pm"
    bare = [str(hour), str((hour - 1) % 12 + 1)] if minute == 0 else []
    if sure or hour > 12 or hour == 0:
        found = [f"{hour:02}:{minute:02}", either, *bare]
    else:
        found = [either, f"{hour:02}:{minute:02}", f"{(hour + 12) % 24:02}:{minute:02}", *bare]
    return tuple(dict.fromkeys(found))


def hours_named(time: str) -> tuple[str, ...]:
    """The numbers that say a full hour, if *time* is one."""
    hour, _, rest = time.partition(":")
    if not rest.startswith("00"):
        return ()
    return tuple(dict.fromkeys((str(int(hour)), str((int(hour) - 1) % 12 + 1))))
