"""The vocabulary of facts: names, dates, relations, and sentences split into clauses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

RELATIONS = (
    "mother father mom mum dad sister brother wife husband spouse partner girlfriend boyfriend fiance "
    "fiancee son daughter child "
    "cousin aunt uncle niece nephew grandmother grandfather grandma grandpa grandson granddaughter "
    "friend neighbour neighbor "
    "boss manager supervisor colleague coworker co-worker teammate mentor mentee teacher professor "
    "student coach doctor dentist "
    "therapist nurse lawyer accountant landlord tenant roommate flatmate housemate employer company "
    "client customer assistant "
    "twin stepmother stepfather stepsister stepbrother godmother godfather ex trainer tutor neighbour "
    "babysitter plumber vet school"
).split()
_MODIFIER = (
    r"(?:(?:best|older|elder|younger|little|big|twin|oldest|youngest|new|close|good|next-door|late|half|"
    r"step|former|old|first|second) )?"
)
RELATION = "(?i:" + _MODIFIER + r"(?:" + "|".join(RELATIONS) + r"))"
NAME = (
    r"(?-i:(?:(?:Dr|Mr|Mrs|Ms|Prof|St)\. )?[^\W\d_a-z][\w'’.&-]*(?: (?:(?:of|the|de|da|do|dos|van|von|der|"
    r"la|le|del|and|for|&) )*[^\W\d_a-z0-9][\w'’.&-]*| \d+)*)"
)
NUMBER = r"\d+|one|two|three|four|five|six|seven|eight|nine|ten|no"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE = (
    rf"(?:\d{{4}}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{{2,4}}|(?:the )?\d\d?(?:st|nd|rd|th)?(?: of)? "
    rf"{_MONTH}(?:,? \d{{4}})?"
    rf"|{_MONTH} \d\d?(?:st|nd|rd|th)?(?:,? \d{{4}})?|{_MONTH} \d{{4}}"
    r"|(?:next |this |last )?(?:mon|tues|wednes|thurs|fri|satur|sun)day(?: at [\w: ]+)?|tomorrow|today|"
    r"next (?:week|month|year)|\d{4})"
)
_CONTRACTIONS = (
    (r"\bI'm\b", "I am"),
    (r"\bI've\b", "I have"),
    (r"\bI'd\b", "I would"),
    (r"\bI'll\b", "I will"),
    (r"\bcan't\b", "cannot"),
    (r"\b(do|does|did|is|are|was|were|has|have)n't\b", r"\1 not"),
    (r"\b(he|she|it|who|that|name)'s\b", r"\1 is"),
    (r"\b(they|we)'re\b", r"\1 are"),
    (r"\b(they|we)'ve\b", r"\1 have"),
    (r"\bIm\b", "I am"),
)
FILLER = re.compile(
    r"\b(?:actually|really|currently|recently|now|also|just|by the way|btw|fyi|you know|well|definitely|"
    r"absolutely|personally|so far|"
    r"anymore|any more|these days|at the moment|nowadays|originally|mainly|usually|still|already|today i "
    r"learned that)\b[, ]*",
    re.IGNORECASE,
)
VERBS = (
    "am|is|are|was|were|have|has|had|live|lives|lived|work|works|worked|love|loves|like|likes|enjoy|"
    "enjoys|hate|hates|dislike|dislikes|prefer|prefers|"
    "speak|speaks|study|studies|studied|play|plays|own|owns|drive|drives|moved|turned|do not|does not|"
    "cannot|adore|adores|grew|come|comes|collect|"
    "collects|use|uses|teach|teaches|manage|manages|run|runs|lead|leads|need|needs|want|wants|eat|eats|"
    "drink|drinks|cook|cooks|graduated|got|married"
)
_SPLIT = re.compile(
    rf"\s*;\s*|,?\s+(?:and|but|while|also|plus)\s+(?=(?:I|my|he|she|they|it|his|her|their|its)\b)|"
    rf",\s+(?=(?:I|my|he|she|they|it|his|her|their|who|which)\s)"
    rf"|,?\s+(?:and|but)\s+(?=(?:{VERBS})\b)",
    re.IGNORECASE,
)


def expand(text: str) -> str:
    """*text* with contractions expanded."""
    for pattern, full in _CONTRACTIONS:
        text = re.sub(pattern, full, text, flags=0 if "I" in pattern else re.IGNORECASE)
    return text


def clean(value: str) -> str:
    """A value without closing punctuation, a leading article, "as well" and the like."""
    value = re.sub(
        r"\s+(?:as well|too|instead|though|right now|anymore|any more|very much|a lot|so much|please|at the moment)$",
        "",
        value.strip(" \t.,;:!\"'"),
    )
    value = re.sub(r"^(?:called|named|that|to be|being)\s+", "", value, flags=re.IGNORECASE)
    return re.sub(r"\[\[|\]\]|[\n\r|]", " ", re.sub(r"^(?:the|an?)\s+(?=[a-z])", "", value)).strip()[:500]


def clauses(sentence: str) -> Iterator[str]:
    """The clauses of a sentence, each with its subject: "I live in X and work at Y" gives two."""
    subject = ""
    for part in _SPLIT.split(sentence):
        part = part.strip(" ,.")
        first = re.match(rf"(I|(?i:my) {RELATION}(?: {NAME})?|{NAME}) (?=(?:{VERBS})\b)", part)
        if first:
            subject = first[1]
        elif subject and re.match(rf"(?:{VERBS})\b", part, re.IGNORECASE):
            part = f"{subject} {part}"
        if part:
            yield part
