"""The words of answers, normalised for comparison: one spelling for numbers, dates, yes and no, in any script. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

from .._numbers import MONTHS, SCALES, plain, readings, spelled_number, with_ascii_digits
from .._polarity import clauses, is_denied

_SAME = {"yes": "true", "no": "false"}
_YES = frozenset("true yes correct right ja oui sí si sim da да tak evet はい 是 是的 对 네 예".split())
_NO = frozenset("false no incorrect wrong nein non não nao nee нет nie hayır いいえ 否 不是 不 아니요 아뇨".split())
_JUDGED = frozenset({"true", "correct", "right", "false", "incorrect", "wrong"})  # anywhere in a clause
_NO_ANSWER = re.compile(
    r"^\W*no (?:idea|information|notes?|record|mention)\b|\b(?:know|sure|certain|tell|say) (?:if|whether)\b"
)
_QUOTES = "\"'“”‘’«»*_`:.!?"
_ARTICLES = frozenset({"a", "an", "the"})
_APOSTROPHES = re.compile(r"(?<=\w)['’](?=\w)")
# Letters, digits, and what is written onto letters in other scripts, which Python counts among neither.
_MARKS = (
    "\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84"
    "\u102b-\u103e\u1056-\u1059\u17b4-\u17d3\u200c\u200d"
)
_NOT_A_WORD = re.compile(rf"[^\w{_MARKS}.%$€£+-]+|(?<!\d)[.]|[.](?!\d)|[-+](?!\d)|(?<=\w)[-+]")
_UNWRITTEN = re.compile("[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]")  # vowels that people leave out
# Kana, Han, Thai, Lao, Khmer, Burmese: written without blanks between words.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_HANGUL = re.compile("[\uac00-\ud7a3]$")
_PARTICLE_CHARS = 3  # of Korean, at the end of a word

_SHORT = {name[:3]: name for name in MONTHS} | {"sept": "september"}
_MONTH = rf"(?P<m>{'|'.join([*MONTHS, *sorted(_SHORT, key=len, reverse=True)])})\.?"
_DAY, _YEAR = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?", r"(?:,?\s+(?P<y>\d{4}))?"
_WORDED_DATES = [
    re.compile(rf"\b{_MONTH}\s+(?:the\s+)?{_DAY}\b{_YEAR}(?![\d:])"),
    re.compile(rf"\b{_DAY}\s+(?:of\s+)?{_MONTH}(?!\w){_YEAR}"),
]
_FIGURES = re.compile(r"(?<![\d.-])(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})|(\d{1,2})([-/.])(\d{1,2})\5(\d{4}))(?![\d-])")
_NUMBER = re.compile(r"(?<![\w.,])\d[\d.,'’\u00a0\u202f]*\d|(?<![\w.,])\d")
_ONE_NUMBER = re.compile(
    r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?:['’\u00a0\u202f.]\d{3})+(?:,\d+)?|(?:0|[1-9]\d*)(?:[.,]\d+)?"
)
_NUMBER_WORDS = 12  # that one number takes, at most
_SCALED = re.compile(r"\b(\d+(?:\.\d+)?)\s+(thousand|million|billion)\b")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_UNIT = re.compile(r"(?<=\d)(?=(?:km|kg|g|m|cm|mm|mg|ml|l|h|am|pm|min|s|lb|lbs|ft|mi|gb|mb|years?|yrs?)\b)")
_PERCENT = re.compile(r"(?<=\d)\s*(?:%|per ?cent\b)")
_MERIDIEM = re.compile(r"\b([ap])\.\s?m\.?(?!\w)")
# That something is not so, by the verb. "No", "without" and the like deny what stands next to them, not the clause.
_DENIAL = re.compile(
    r"\b(?:not(?!\s+only\b)|never|no longer|neither|nor|nicht|kein(?:e[mnrs]?)?|niemals|jamais|niet|geen|nooit|não|"
    r"nunca|не|нет|никогда)\b|n['’]t\b|\b(?:ne\s|n['’])\w+ pas\b|不是|没有|沒有|不在|ではな|じゃな|ません|아니|않",
    re.IGNORECASE,
)
# What one may not or had better not do is said of the thing, not against it: "She cannot eat nuts."
_MODAL = re.compile(
    r"\b(?:can(?:not| not|['’]t)|must ?n['’o]t|should ?n['’o]t|may not|avoid\w*|allerg\w*|dislikes?|hates?)\b"
)


def normalise(text: str) -> list[str]:
    """The words of *text* as answers are compared: without case, punctuation, articles, and accents' spellings.

    "yes" and "no" are "true" and "false". Numbers are in figures, without commas and needless noughts: "1,250.50", "29"
    and "twenty-nine" as "1250.5", "29" and "29". Dates in words or figures are day, month and year: "7 may 2023".
    """
    text = unicodedata.normalize("NFKC", with_ascii_digits(text)).casefold()
    text = _UNWRITTEN.sub("", _MERIDIEM.sub(r"\1m", text))
    for pattern in _WORDED_DATES:
        text = pattern.sub(_dated, text)
    text = _FIGURES.sub(_dated_in_figures, text)
    text = _SCALED.sub(_scaled, _NUMBER.sub(_plain_number, text))
    text = _PERCENT.sub("%", _UNIT.sub(" ", _ORDINAL.sub("", text)))
    words = _NOT_A_WORD.sub(" ", _APOSTROPHES.sub("", text)).split()
    return [_SAME.get(word, word) for word in _in_figures(words) if word not in _ARTICLES]


def _plain_number(match: re.Match[str]) -> str:
    """One spelling of a number; anything else, such as a version or a telephone number, is unchanged."""
    return readings(match[0])[0] if _ONE_NUMBER.fullmatch(match[0]) else match[0]


def _dated(match: re.Match[str]) -> str:
    month = _SHORT.get(match["m"], match["m"])
    return " ".join(part for part in (str(int(match["d"])), month, match["y"]) if part)


def _dated_in_figures(match: re.Match[str]) -> str:
    if match[1]:
        year, month, day = match[1], int(match[2]), int(match[3])
    else:
        year, day, month = match[7], int(match[4]), int(match[6])
        if month > 12:
            day, month = month, day
        elif day <= 12 and day != month:
            return match[0]  # either may be the month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f" {day} {MONTHS[month - 1]} {year} "


def _in_figures(words: Sequence[str]) -> list[str]:
    """*words* with English numbers in figures."""
    found: list[str] = []
    place = 0
    while place < len(words):
        number, taken = spelled_number(words[place : place + _NUMBER_WORDS], 0)
        found.append(str(number) if taken else words[place])
        place += taken or 1
    return found


def _scaled(match: re.Match[str]) -> str:
    return plain(Decimal(match[1]) * SCALES[match[2]])


def holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether *words* contains *wanted* in order; both from `normalise`."""
    if any(_UNSPACED.search(word) for word in wanted):
        joined = re.escape("".join(wanted))
        before = r"(?<!\d)" if wanted[0][0].isdigit() else ""
        after = r"(?!\d)" if wanted[-1][-1].isdigit() else ""
        return re.search(before + joined + after, "".join(words)) is not None
    size = len(wanted)
    return size > 0 and any(_are(words[at : at + size], wanted) for at in range(len(words) - size + 1))


def _are(words: Sequence[str], wanted: Sequence[str]) -> bool:
    *start, last = wanted
    if list(words[:-1]) != start:
        return False
    particle = len(words[-1]) - len(last)
    return words[-1] == last or bool(
        _HANGUL.search(last) and words[-1].startswith(last) and 0 < particle <= _PARTICLE_CHARS
    )


def is_asserted(text: str, wanted: str) -> bool:
    """Whether *text*, which contains *wanted*, does not merely deny it: "She does not live in Porto."."""
    if _DENIAL.search(wanted):
        return True
    words = normalise(wanted)
    saying = [clause for clause in clauses(text) if holds(normalise(clause), words)]
    return not saying or not all(_DENIAL.search(clause) and not _MODAL.search(clause.casefold()) for clause in saying)


def yes_or_no(text: str) -> bool | None:
    """The answer of *text* to a yes-or-no question; None if it has neither."""
    for clause in clauses(text.casefold()):
        words = [_APOSTROPHES.sub("", word).strip(_QUOTES) for word in clause.split()]
        words = [word for word in words if word]
        if not words or _NO_ANSWER.search(clause):
            continue
        if words[0] in _YES | _NO:
            return words[0] in _YES
        judged = [word for word in words if word in _JUDGED] or [word for word in words[-1:] if word in _YES | _NO]
        if judged:
            denied = is_denied(re.sub(rf"\b(?:{'|'.join(_YES | _NO)})\b", " ", clause))
            return (judged[0] in _YES) != denied
    return None
