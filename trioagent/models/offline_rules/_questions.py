"""From the words of a question to the block's look-up. Pure."""

from __future__ import annotations

import re
from typing import Any

from ._synonyms import BROAD, QUESTION_WORDS, alike
from .library._words import STOP, WORD, fold, stem

_LEAD = re.compile(
    r"^(?:(?:hey|hi|hello|ok|okay|please|so|and|well|true or false|yes or no|(?:can|could|would) you "
    r"(?:please )?(?:tell|remind) me"
    r"|(?:please )?(?:tell|remind|show|give) me|do you (?:know|remember)|i(?:'d| would) like to know|i want to know"
    r"|i wonder|any idea)\b[\s,:!-]*)+",
    re.IGNORECASE,
)
_CHECK = re.compile(r"^(?:is|are|am|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE)
_ABOUT = re.compile(
    r"^(?:who(?:'s| is| are| was)|what(?:'s| is| are)?(?: do you (?:know|remember|have)| about| did i "
    r"(?:say|tell you))?|tell me|"
    r"describe|everything|all|anything|about|summari[sz]e|do you know|show|list)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\b(?:that|who|which|where|whose|whom|with whom)\b|(?<=[a-z]) (?=(?:i|we) (?!am\b|have been\b)[a-z]+)",
    re.IGNORECASE,
)
_ME = re.compile(r"\b(?:i|me|my|mine|myself|we|our|us|i'm|i've)\b", re.IGNORECASE)
_LIVING = re.compile(r"^what (?:do|does|did) .+ do(?: for (?:a living|work))?\b\W*$")
_NUMBER = re.compile(
    r"when|since when|how (?:many|old|much|tall|big|large|far|fast|heavy|deep|high)|what (?:year|number|time)"
)
_NOISE = frozenset(
    "please tell know remember everything anything all about describe list show summarize summarise true "
    "false say said "
    "told tell remind give again many much actually really currently exactly can could will would should yes name's "
    "named most more who's what's where's person someone".split()
)


def parse_question(text: str) -> dict[str, Any]:
    """What to look up: weighted words with similar stems, and the kind of answer wanted.

    Each word is ``[weight, {stem: similarity}, fit for the way, fit for the key, how much it must be explained]``.
    Words before a relative clause tend to name the attribute, words in it the links that lead there. Names and
    possessions of other people must be explained.
    """
    text = text.replace("’", "'").strip()
    core = _LEAD.sub("", text) or text
    lowered = fold(core)
    clause = next(
        (m.start() for m in _CLAUSE.finditer(core) if m.start() > 4 and len(core[: m.start()].split()) > 2), None
    )
    words: list[list[Any]] = []
    roots: list[str] = []
    exact: list[str] = []
    if _LIVING.search(lowered):
        words.append([1.0, {s: round(like, 2) for s, like in alike(stem("occupation")).items()}, 0.5, 1.0, 1.0])
        roots.append("")
    skip: set[str] = set()
    for phrase, (weight, meant) in QUESTION_WORDS.items():
        if re.search(rf"\b{phrase}\b", lowered if " " in phrase else lowered[:12]):
            words.append([weight, {stem(fold(word)): 0.95 for word in meant.split()}, 0.2, 1.0, 0.5])
            roots.append("")
            skip |= set(phrase.split())
    for match in WORD.finditer(core):
        word = fold(match[0])
        bare = re.sub(r"'s?$", "", word)
        if (bare in STOP or bare in _NOISE or bare in skip or len(words) > 60) and bare != "person":
            continue
        root = stem(word)
        late = clause is not None and match.start() >= clause
        after_what = re.match(r"(?:what|which)\s+$", core[: match.start()], re.IGNORECASE) is not None
        weight = 0.25 if bare in BROAD and not after_what else 1.0
        likeness = {s: round(v, 2) for s, v in alike(root).items()} if bare != "person" else {"person": 1.0}
        named = match[0][0].isupper() and match.start() > 0
        owned = re.search(r"['’]s?\s$", core[: match.start()]) is not None
        must = 1.5 if named else 0.4 if late else 2.0 if owned else 1.0
        words.append([weight, likeness, 1.0 if late or clause is None else 0.6, 0.7 if late else 1.0, must])
        roots.append(root)
        exact.append(root)
    proper = [
        stem(fold(m[0])) for m in WORD.finditer(core) if m[0][0].isupper() and m.start() > 0 and fold(m[0]) not in STOP
    ]
    return {
        "words": words,
        "roots": roots,
        "wants": "name" if lowered.startswith(("who", "where")) else "number" if _NUMBER.match(lowered) else "",
        "all": exact,
        "names": [root for root in exact if root not in {stem(w) for w in BROAD}],
        "proper": proper,
        "me": bool(_ME.search(core)),
        "yes_no": bool(_CHECK.match(core))
        or lowered.startswith("true or false")
        or text.lower().startswith(("true or false", "yes or no")),
        "person": lowered.startswith(("who", "whose", "which")),
        "checks": bool(_CHECK.match(core)) or lowered.startswith(("who", "which", "true")),
        "who": lowered.startswith(("who", "which", "where", "list", "what")),
        "about": bool(_ABOUT.match(core)),
    }
