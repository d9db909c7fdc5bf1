"""The tags of the reply protocol, as models spell them, and the tokens that leak from their chat templates. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# How models spell the tag of their thoughts, besides <think>: Claude, EXAONE, Seed, MiniMax; Magistral; Kimi.
_THINK_TAGS = ("think", "thinking", "thought", "seed:think", "mm:think")
_NAMES = "|".join((*_THINK_TAGS, "python", "reply"))
# The tokens of other formats, without their "<": whether they end thoughts, and whose they are.
_TOKENS: Mapping[str, tuple[bool, str]] = {
    "|channel|>analysis": (False, "harmony"),
    "|channel|>commentary": (False, "harmony"),
    "|channel|>final": (True, "harmony"),
    "|channel>thought": (False, "gemma"),
    "channel|>": (True, "gemma"),
    "|start_thinking|>": (False, "command"),
    "|end_thinking|>": (True, "command"),
}
TAG = re.compile(
    r"(?:<(?=[^<>]{1,16}>)|\[(?=/?think\])|◁(?=/?think▷))"
    rf"(?: ?(/?) ?({_NAMES}) ?[>\]▷]|({'|'.join(map(re.escape, _TOKENS))}))",
    re.IGNORECASE | re.ASCII,  # "ſ" is no "s"
)
LONGEST_TAG = len("<|channel|>commentary")
PLAIN_TAGS: Mapping[str, tuple[str, bool, str]] = {
    f"<{slash}{name}>": (name, bool(slash), "tags") for slash in ("", "/") for name in ("think", "python", "reply")
}
"""The tags as the protocol spells them: name, whether it is a closing one, format. Nearly all tags are among them."""
# What may stand between thoughts and answer without being text: tokens of chat templates, and what is left of them.
FILLER = re.compile(r"(?:\s|<[|｜][^<>|｜]{1,24}[|｜]>(?:assistant)?|assistantfinal)*+")
END_TOKENS = re.compile(r"(?:\s*(?:<[|｜][^<>|｜]{1,24}[|｜]>|</s>|<eos>|<end_of_turn>|<turn\|>))+\s*\Z")
LONGEST_END = 200
BARE_START, BARE_END = "analysis", "assistantfinal"
_PREFIXES = (
    *("[think]", "[/think]", "◁think▷", "◁/think▷"),
    *(f"<{token}" for token in _TOKENS),
    *(
        f"<{a}{slash}{b}{name}{c}>"
        for name in (*_THINK_TAGS, "python", "reply")
        for slash in ("", "/")
        for a in ("", " ")
        for b in ("", " ")
        for c in ("", " ")
    ),
)


def read_tag(tag: re.Match[str]) -> tuple[str, bool, str]:
    """Its name ("think", "python" or "reply"), whether it is a closing one, and its format.

    The format is "tags", or the name of the format whose token it is.
    """
    if plain := PLAIN_TAGS.get(tag[0]):
        return plain
    if tag[3] is not None:
        return ("think", *_TOKENS[tag[3].lower()])
    name = (tag[2] or "think").lower()
    return "think" if name in _THINK_TAGS else name, bool(tag[1]), "tags"


def begins_bare_channels(text: str) -> bool:
    """Whether *text* begins as Harmony without its tokens does: a thought begins at once behind the channel's name."""
    next_char = text[len(BARE_START) : len(BARE_START) + 1]
    return text.startswith(BARE_START) and next_char.isalpha() and not next_char.islower()


def without_filler(text: str) -> str:
    begin = match.end() if (match := FILLER.match(text)) else 0
    return text[begin:].strip()


def may_become_tag(tail: str) -> bool:
    """Whether *tail* is the beginning of a tag."""
    tail = tail.lower()
    return len(tail) < LONGEST_TAG and any(tag.startswith(tail) for tag in _PREFIXES)
