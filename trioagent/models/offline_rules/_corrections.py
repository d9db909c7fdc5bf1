"""From "not X but Y", "from X to Y", "no longer" and "instead of" to operations that revise the notes. Pure."""

from __future__ import annotations

import re

from ._facts import parse_facts
from ._operations import Op
from ._phrases import NAME, clean, expand
from .library._words import stems

_PREAMBLE = re.compile(
    r"^(?:please )?(?:(?:I|we) (?:need|want|would like|have|wish|am writing) to |let me |can you |could "
    r"you )?(?:please )?"
    r"(?:update|correct|change|fix|revise|edit|modify) (?P<what>.+?)(?: - |: |; |, because | because |, "
    r"as | as )(?P<rest>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_TAIL = re.compile(
    r",? (?:(?:as|like|than) (?:is |it is |was |it was |previously |currently |I )|as my |as we |as "
    r"(?:an?|the) (?:main|new) |that (?:is|was|are) (?:currently|previously|listed|on)|in (?:my|the|your) "
    r"(?:system|file|files|records?|profile|notes|database)|over the (?:past|last)|since |starting |which "
    r"|who |because |so my|so the|and (?:my|want|need)"
    r"|and now |my (?:home|hometown)$|(?:last|this|next) (?:week|month|year)|for (?:better|my|our|the) |"
    r"(?:recently|lately|permanently|instead|now|anymore)\b).*$",
    re.IGNORECASE | re.DOTALL,
)
_OLD_TAIL = re.compile(
    r",? (?:(?:as|like|than) (?:is |it is |was |it was |previously |currently |I )|that (?:is|was|are) |"
    r"in (?:my|the|your) (?:system|file|files|records?|profile|notes)"
    r"|(?:recently|instead|now|anymore)\b|as (?:currently|previously)).*$",
    re.IGNORECASE | re.DOTALL,
)
_LEAD = re.compile(
    r"^(?:but|and|then|so|I|we|it|he|she|they|now|am|is|are|was|were|be|being|been|become|became|becoming|"
    r"have|has|had|having|actually|recently|just|really|"
    r"really into|got|gotten|get|into|promoted|transferred|transitioned|switched|moved|changed|shifted|"
    r"reassigned|assigned|appointed|started|starting|"
    r"begun|to|as|at|working|work|works|serving|serve|hold|holding|completed|complete|obtained|awarded|"
    r"earned|received|won|speak|speaks|known|following|follow|developed|"
    r"strong|preference for|passionate about|interested in|in|for|with|of|on|by|a|an|the|my|our|new|also|"
    r"instead|should|updated|call|consider|moving|transitioning|switching|using|use|who|that)\s+",
    re.IGNORECASE,
)
_PAIRS = [
    re.compile(r"\bfrom (?P<old>.+?) (?:to|into) (?P<new>.+)$", re.IGNORECASE | re.DOTALL),
    re.compile(
        r"\bno longer (?P<old>.+?)(?:, (?:but |and )?|\. |; | - | and | but | as (?=I "
        r"have\b))(?P<new>(?:I|we|he|she|they|it|my|now|have|has|is|are|am|instead|been|was|instead|rather|switched|"
        r"moved|transitioned)\b.+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(r"(?P<new>.+?),? (?:instead of|rather than|in place of) (?P<old>.+)$", re.IGNORECASE | re.DOTALL),
    re.compile(
        r"(?P<new>.+?),? which (?:should replace|has replaced|replaces|replaced|supersedes) (?:my "
        r"(?:previous|old|former) )?(?P<old>.+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"(?:moved|moving) (?:on|away) from (?P<old>.+?)(?:,| and)+ (?P<new>(?:and )?(?:now|I am|I have|am|I) .+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"(?:shows?|says?|lists?|records?|noted|thinks?) (?:that )?(?P<old>.+?),? but (?P<new>.+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"(?:moved|relocated) from (?P<old>.+?),? and (?:now |I )*(?P<new>(?:call|live in|consider) .+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"(?<!do )(?<!does )(?<!did )(?<!can )\bnot (?P<old>.+?),? but (?:rather )?(?P<new>.+)$",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(r"(?P<new>.+?)(?:,| and| -) not (?:just |only )?(?P<old>.+)$", re.IGNORECASE | re.DOTALL),
]
_GONE = [
    re.compile(r"^(?P<who>.+? )?(?:am|is|are|do|does|have|has)? ?no longer (?P<old>.+)$", re.IGNORECASE),
    re.compile(
        r"^(?P<who>.+? )?(?:do not|does not|am not|is not|have not|stopped|quit|gave up) (?P<old>.+?)(?: "
        r"any ?more| any longer)$",
        re.IGNORECASE,
    ),
    re.compile(r"^(?P<who>I )(?:have )?(?:stopped|quit|gave up|left) (?P<old>.+)$", re.IGNORECASE),
]
_WORDS = {
    w: str(n) for n, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}
_COMMON = frozenset("I My The A An And But Now So We Our".split())


def _shapes(new: str) -> dict[str, str | list[str]]:
    """The new value in each shape that the old one may have: a number, names, a phrase."""
    new = new.strip()
    number = re.search(r"(?<![\w.])\d[\d.,:/-]*\d|\d|\b(?:" + "|".join(_WORDS) + r")\b", new, re.IGNORECASE)
    names = [n for n in (re.sub(r"[.,]$", "", m[0]) for m in re.finditer(NAME, new)) if n not in _COMMON and n != "I"]
    text = re.sub(r"^(?:my|our) [\w' -]{2,40}? (?:is|are|has \w+ to)\s+", "", new, flags=re.IGNORECASE)
    before = None
    while before != text:
        before, text = text, _LEAD.sub("", text, count=1)
    text = _TAIL.sub("", " " + text).strip()
    digits = number[0].rstrip(".,:/-") if number else ""
    return {"number": _WORDS.get(digits.lower(), digits), "names": names[:6], "text": clean(text), "said": new[:300]}


def parse_correction(sentence: str) -> list[Op]:
    """The replacement or removal that a statement requests; empty if it requests none."""
    text = expand(sentence).rstrip(". ")
    preamble = _PREAMBLE.match(text)
    rest = preamble["rest"] if preamble else text
    mine = bool(re.search(r"\b(?:I|my|me|we|our)\b", rest, re.IGNORECASE))
    hint = list(dict.fromkeys(stems(text)))[:60]
    for pattern in _PAIRS:
        found = pattern.search(rest)
        if not found or (pattern in _PAIRS[:1] and not _changing(rest[: found.start()], preamble is not None)):
            continue
        old = _OLD_TAIL.sub("", " " + found["old"]).strip()
        before = rest[: found.start()] if found.start("old") < found.start("new") else ""
        joined = re.sub(r"\b(am|is|are) +(?:now +)?(?:am|is|are)\b", r"\1", before + found["new"])
        said = (found["new"], joined, rest if " from " in rest else "")
        facts = next((ops for ops, _ in map(parse_facts, said) if ops), [])
        return [
            {"op": "swap", "old": old[:300], "new": _shapes(found["new"]), "hint": hint, "mine": mine, "else": facts}
        ]
    for pattern in _GONE:
        if found := pattern.match(rest):
            old = f"{found['who'] or ''}{found['old']}"
            return [
                {"op": "drop", "text": old[:300], "words": [s for s in stems(old) if s not in ("longer", "stop")][:40]}
            ]
    return []


def _changing(before: str, stated: bool) -> bool:
    """Whether "from X to Y" after these words is a change, not a journey or opening hours."""
    return stated or bool(
        re.search(
            r"\b(?:changed?|switch\w*|promot\w*|shift\w*|transition\w*|updated?|transferr\w*|went|moved?|"
            r"renamed)\b[\w ]*$",
            before,
            re.IGNORECASE,
        )
    )


def is_preamble(sentence: str) -> bool:
    """Whether a sentence only names what no longer holds, so that the next one may name its replacement."""
    return bool(re.search(r"\bno longer\b", sentence, re.IGNORECASE)) and not any(
        p.search(expand(sentence)) for p in _PAIRS[1:3]
    )
