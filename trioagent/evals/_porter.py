"""Porter's stemmer, in the variant that LoCoMo's authors score with (that of NLTK, which deviates from the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

_IRREGULAR = {
    form: stem
    for stem, forms in {
        "sky": ["sky", "skies"],
        "die": ["dying"],
        "lie": ["lying"],
        "tie": ["tying"],
        "news": ["news"],
        "inning": ["innings", "inning"],
        "outing": ["outings", "outing"],
        "canning": ["cannings", "canning"],
        "howe": ["howe"],
        "proceed": ["proceed"],
        "exceed": ["exceed"],
        "succeed": ["succeed"],
    }.items()
    for form in forms
}
_Condition = Callable[[str], bool]
_Rule = tuple[str, str, _Condition | None]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of an English word, in lower case; words of one or two letters are their own."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plurals, _past_and_gerund, _final_y, _double_suffixes, _suffixes, _long_suffixes, _final_e, _final_l):
        word = step(word)
    return word


def _is_consonant(word: str, at: int) -> bool:
    if word[at] in "aeiou":
        return False
    if word[at] != "y":
        return True
    # Runs of "y" alternate, and the first letter is a consonant.
    start = at
    while start > 0 and word[start] == "y":
        start -= 1
    first = word[start] not in "aeiou"
    return first if (at - start) % 2 == 0 else not first


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant: m in [C](VC)^m[V]."""
    kinds = [_is_consonant(word, at) for at in range(len(word))]
    return sum(not before and after for before, after in pairwise(kinds))


def _measured(word: str) -> bool:
    return _measure(word) > 0


def _well_measured(word: str) -> bool:
    return _measure(word) > 1


def _has_vowel(word: str) -> bool:
    return any(not _is_consonant(word, at) for at in range(len(word)))


def _ends_double(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _is_consonant(word, len(word) - 1)


def _ends_short(word: str) -> bool:
    """Consonant, vowel, consonant, the last not w, x or y; or a word of only a vowel and a consonant."""
    if len(word) >= 3:
        kinds = [_is_consonant(word, len(word) - back) for back in (3, 2, 1)]
        if kinds == [True, False, True] and word[-1] not in "wxy":
            return True
    return len(word) == 2 and not _is_consonant(word, 0) and _is_consonant(word, 1)


def _apply(word: str, rules: Sequence[_Rule]) -> str:
    """The first rule whose suffix matches decides, even if its condition does not hold."""
    for suffix, replacement, condition in rules:
        if word.endswith(suffix):
            rest = word[: len(word) - len(suffix)]
            return rest + replacement if condition is None or condition(rest) else word
    return word


def _plurals(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _apply(word, [("sses", "ss", None), ("ies", "i", None), ("ss", "ss", None), ("s", "", None)])


def _past_and_gerund(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measured(word[:-3]) else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            if _has_vowel(rest):
                return _repaired(rest)
            if suffix == "ed":
                continue
    return word


def _repaired(word: str) -> str:
    """A stem repaired after the removal of a suffix."""
    for suffix in ("at", "bl", "iz"):
        if word.endswith(suffix):
            return word + "e"
    if _ends_double(word):
        return word if word[-1] in "lsz" else word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_short(word) else word


def _final_y(word: str) -> str:
    return _apply(word, [("y", "i", lambda rest: len(rest) > 1 and _is_consonant(rest, len(rest) - 1))])


def _double_suffixes(word: str) -> str:
    if word.endswith("alli") and _measured(word[:-4]):
        return _double_suffixes(word[:-2])
    pairs = (
        "ational ate,tional tion,enci ence,anci ance,izer ize,bli ble,alli al,entli ent,eli e,ousli ous,ization ize,"
        "ation ate,ator ate,alism al,iveness ive,fulness ful,ousness ous,aliti al,iviti ive,biliti ble,fulli ful"
    )
    rules: list[_Rule] = [(old, new, _measured) for old, new in (pair.split() for pair in pairs.split(","))]
    return _apply(word, [*rules, ("logi", "log", lambda _: _measured(word[:-3]))])


def _suffixes(word: str) -> str:
    rules = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
    return _apply(word, [(old, new, _measured) for old, new in rules.items()])


def _long_suffixes(word: str) -> str:
    before = "al ance ence er ic able ible ant ement ment ent".split()
    after = "ou ism ate iti ous ive ize".split()
    ion: _Rule = ("ion", "", lambda rest: _well_measured(rest) and rest[-1] in "st")
    return _apply(
        word, [*((old, "", _well_measured) for old in before), ion, *((old, "", _well_measured) for old in after)]
    )


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    rest = word[:-1]
    return rest if _well_measured(rest) or (_measure(rest) == 1 and not _ends_short(rest)) else word


def _final_l(word: str) -> str:
    return _apply(word, [("ll", "l", lambda _: _well_measured(word[:-1]))])
