"""Reduces words to stems, which the rules and their library compare."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
STOP = frozenset(
    "a an the of to in on at for by from with and or is are was were be been am do does did has have had i me my mine "
    "we our us you your he she it its his her their they them this that these those there here who whom whose which "
    "what when where why how as if not no so than then also very too just now currently about into".split()
)
SUFFIXES = "ional ment ness edly ings ing ion ers ees al ly er or ee ed e".split()


def fold(text: str) -> str:
    """Lower case, without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c)) if not plain.isascii() else plain


def stem(word: str) -> str:
    """A stem that the inflections of an English word share."""
    word = re.sub(r"['’]s?$", "", word)
    if len(word) <= 3 or not word.isalpha():
        return word
    if len(word) > 5:
        word = word.replace("our", "or")
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and word[-2] not in "siu":
        word = word[:-1]
    for end in SUFFIXES:
        if word.endswith(end) and len(word) - len(end) >= 3 + (len(end) < 3):
            word = word[: -len(end)]
            if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    if word.endswith("at") and len(word) > 5:
        word = word[:-2]
    return word[:-2] + "iz" if word.endswith("is") else word[:-1] + "i" if word.endswith("y") else word


def stems(text: str) -> list[str]:
    """The stems of the content words, in order."""
    return [stem(word) for word in WORD.findall(fold(text.replace("_", " "))) if word not in STOP]
