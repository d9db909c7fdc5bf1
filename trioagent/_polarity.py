"""Whether a sentence denies something, says that it is over, or only guesses; decided by its words. Pure.

All of it is decided by clause: "Lives in Porto, not in Lisbon" denies Lisbon only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CLAUSE_END = re.compile(r"[,;()\[\]|•]|[.!?](?:\s|$)|\s[–—-]\s|\bbut\b|\n|[，。；、（）！？]")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|[\n。！？]")

_NEGATION = re.compile(
    r"\b(?:not(?!\s+only\b)|no(?!\.\s*\d)|never|none|nobody|nothing|without|cannot|neither|nor|non)\b|n['’]t\b|"
    r"\b(?:nicht|kein\w*|nie|niemals|ohne|ne|pas|jamais|aucune?|sans|não|nunca|jamás|sin|sem|mai|senza|niet|geen|nooit)\b|"
    r"\bn['’](?=\w)|\b(?:не|нет|никогда|без)\b|[不没沒無无未]|ない|ません",
    re.IGNORECASE,
)
# Other words that may negate a sentence; enough for a fact that is itself negated, too vague against one that is not.
_AVOIDANCE = re.compile(
    r"\b(?:avoids?|avoiding|dislikes?|hates?|refuses?|quit|gave up|stopped|lacks?|free|ex|former|abstains?)\b",
    re.IGNORECASE,
)

_BEFORE = (
    r"was|were|had|used to|no longer|not|doesn['’]t|don['’]t|didn['’]t|previous(?:ly)?|former(?:ly)?|earlier|past|"
    r"ex|"
    r"(?<!years )(?<!year )(?<!months )(?<!-)\bold|once(?!\s+(?:an?|every|per|in)\b)|stopped|quit|"
    r"moved (?:away |out )?(?:from|out of)|instead of|rather than|replac(?:ed|es|ing)|"
    r"(?:changed|switched|updated|corrected) from|left(?!\s+(?:hand|handed|side|bank|arm|leg|foot|eye|ear|wing)\b)|"
    r"histor(?:y|ical)\b[^:]{0,20}:|until|lived|worked|played|studied|owned|married|"
    r"früher\w*|ehemal\w+|ehemals|vorher\w*|nicht mehr|statt|wohnte|lebte|war|anciens?|anciennes?|avant|auparavant|"
    r"antes|antigu[oa]|anterior|ya no|vivía|era|prima|precedente|non più|já não|morava|"
    r"раньше|прежн\w+|бывш\w+|больше не|жил[аи]?"
)
_OVER_BEFORE = re.compile(rf"\b(?:{_BEFORE})(?=\W|$)|以前|之前|曾|原来|不再|かつて", re.IGNORECASE)
_AFTER = (
    r"until|till|before|previously|formerly|no longer|not any ?more|any ?more|in the past|bis|früher|ehemals|"
    r"nicht mehr|jusqu\w*|autrefois|hasta|fino a\w*|até|раньше|больше нет"
)
_OVER_AFTER = re.compile(rf"\b(?:{_AFTER})(?=\W|$)|(?:→|->|=>|⇒)|以前|之前|まで", re.IGNORECASE)
# Directly after a word in brackets more of them can only refer to it.
_OVER_IN_BRACKETS = re.compile(
    rf"\s*[*_]*\s*[(\[][^)\]]*\b(?:{_AFTER}|former|earlier|past|ended|outdated|obsolete|old|was|left|ex|alt|avant|antes|до)\b",
    re.IGNORECASE,
)
_CLOSED_YEARS = re.compile(r"\b(?:19|20)\d\d\s*(?:-|–|—|to|until|bis)\s*(?:19|20)\d\d\b", re.IGNORECASE)
_STRUCK = re.compile(r"~~.*?~~")

_GUESS = re.compile(
    r"\b(?:could not|couldn['’]t|cannot|can['’]t|can not|don['’]t know|do not know|doesn['’]t|does not|no idea|"
    r"not sure|unsure|uncertain|unknown|whether|may be|might be|could be|maybe|perhaps|possibly|probably|i guess|"
    r"guessing|"
    r"none (?:of|tells?|says?|mentions?)|no (?:note|notes|information|record|mention)|nothing|"
    r"not (?:find|found|mentioned|recorded|noted|known)|did ?n['’]t|did not)\b|"
    r"\b(?:weiß (?:ich )?(?:es )?nicht|nicht sicher|vielleicht|könnte|keine ahnung|nicht gefunden|je ne sais|peut-être|"
    r"pas trouvé|no sé|quizás?|tal vez|no encontr\w+|forse|non so|não sei|talvez|не знаю|возможно|может быть|"
    r"не наш\w+)\b|"
    r"不知道|可能|也许|没有找到|不确定|わかりません|かもしれ",
    re.IGNORECASE,
)
_ALTERNATIVES = re.compile(r"\b(?:or|oder|ou|either|или)\b|或", re.IGNORECASE)


def clauses(text: str) -> list[str]:
    """The clauses of a text."""
    return [clause for clause in _CLAUSE_END.split(text) if clause.strip()]


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text."""
    return [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def is_denied(text: str) -> bool:
    """Whether *text* contains a negation."""
    return _NEGATION.search(text) is not None


def may_deny(text: str) -> bool:
    """Whether *text* may be another way of negating something."""
    return is_denied(text) or _AVOIDANCE.search(text) is not None


def is_guess(text: str, fact: str) -> bool:
    """Whether *text* is uncertain about its content; words that are in *fact* itself do not count."""
    return any(pattern.search(text) and not pattern.search(fact) for pattern in (_GUESS, _ALTERNATIVES))


def is_asked(sentence: str, text: str) -> bool:
    """Whether *sentence*, which is one of *text*, is a question."""
    return text[text.index(sentence) + len(sentence) :].startswith(("?", "？"))


def is_over(line: str, words: Iterable[str]) -> bool:
    """Whether a line marks *words* (as written in it) as past: a record of a change, not a fact.

    "Lived in Lisbon", "Lisbon (until 2024)", "Previous city: Lisbon", "~~Lisbon~~", "Lisbon → Porto"; but not "34 years
    old, lives in Lisbon", where the word belongs to something else.
    """
    spoken = [word.casefold() for word in words]
    bare = _STRUCK.sub(" ", line)
    if not any(word in bare.casefold() for word in spoken):
        return True
    places = [(at, at + len(word)) for word in spoken if (at := bare.casefold().find(word)) >= 0]
    return all(_over_at(bare, start, end) for start, end in places)


def _over_at(line: str, start: int, end: int) -> bool:
    after = line[end:]
    if _OVER_BEFORE.search(_last_clause(line[:start])):
        return True
    if _OVER_IN_BRACKETS.match(after) or _OVER_AFTER.search(_CLAUSE_END.split(after, maxsplit=1)[0]):
        return True
    if (there := re.match(r"\s*,\s*", after)) and _OVER_AFTER.match(after, there.end()):
        return True
    return _CLOSED_YEARS.search(line) is not None


def _last_clause(text: str) -> str:
    cut = [match.end() for match in _CLAUSE_END.finditer(text)]
    return text[cut[-1] :] if cut else text
