"""Parses one user message into operations on the notes, a look-up, or talk that needs no notes. Pure."""

from __future__ import annotations

import re
from typing import Any

import attrs

from ._corrections import is_preamble, parse_correction
from ._facts import parse_facts
from ._operations import Op, Who, title
from ._phrases import RELATION
from ._questions import parse_question
from ._sentences import Kind, classify, normalise, split_sentences
from ._synonyms import alike
from .library._words import stems

MESSAGE_CHARS = 8_000
"""The part of one message that is parsed: the rules are for sentences, not for documents."""
_SENTENCES = 40
_SENTENCE_CHARS = 1_000


@attrs.frozen
class BlockPlan:
    """The actions for one message.

    Attributes:
        ops: changes to the notes, in order.
        ask: the look-up of its (last) question, or None.
        question: that question's text.
        talk: the kinds of sentences that need no notes.
        unclear: statements in which no fact was found.
        cut: whether the message was too long to be parsed whole.
    """

    ops: tuple[Op, ...] = ()
    ask: dict[str, Any] | None = None
    question: str = ""
    talk: tuple[Kind, ...] = ()
    unclear: tuple[str, ...] = ()
    cut: bool = False


def _forget(what: str) -> Op:
    """A request to forget, by name, by relation or by words."""
    text = re.sub(r"^(?:that |about |all |the fact that )+", "", what, flags=re.IGNORECASE)
    about = re.match(
        r"(?:everything|anything|all|what(?:ever)?|whatever|all that|every note)(?: (?:that )?you (?:know|"
        r"have|remember|noted|stored))?(?: (?:about|on|of))? ?(?P<x>.*)$",
        text,
        re.IGNORECASE,
    )
    aim = (about["x"] if about else text).strip(" .?!\"'")
    if about and not aim:
        return {"op": "forget", "text": text, "words": [], "likely": [], "name": False, "rel": "", "all": "notes"}
    if re.fullmatch(r"(?:me|myself)", aim, re.IGNORECASE):
        return {"op": "forget", "text": text, "words": [], "likely": [], "name": False, "rel": "", "all": "me"}
    rel = re.fullmatch(rf"(?:about )?my ({RELATION})", aim)
    words = stems(aim)[:40]
    likely = [[root, *(s for s, like in alike(root).items() if like > 0.8 and s != root)] for root in words]
    named = bool(about) or (aim[:1].isupper() and not aim.startswith(("I ", "My ")))
    return {
        "op": "forget",
        "text": aim[:200],
        "words": words,
        "likely": likely,
        "name": named,
        "rel": title(rel[1]) if rel else "",
        "all": "",
    }


def make_plan(message: str) -> BlockPlan:
    """Reads one message. Never raises, whatever the text."""
    sentences = split_sentences(normalise(message[:MESSAGE_CHARS]))
    ops: list[Op] = []
    talk: list[Kind] = []
    unclear: list[str] = []
    ask, question, skip = None, "", False
    last: Who | None = None
    for number, text in enumerate(sentences[:_SENTENCES]):
        if skip:
            skip = False
            continue
        said = classify(text[:_SENTENCE_CHARS])
        if said.kind == "question":
            ask, question = parse_question(said.text), said.text
        elif said.kind == "forget":
            ops.append(_forget(said.text))
        elif said.kind in ("statement", "remember"):
            after = sentences[number + 1] if number + 1 < len(sentences) else ""
            if is_preamble(said.text) and after and classify(after).kind == "statement":
                found, skip = parse_correction(f"{said.text}. {after}"), True
            else:
                found = parse_correction(said.text)
            if not found:
                found, last = parse_facts(said.text, last)
            if not found and said.kind == "remember":
                found = [{"op": "note", "text": said.text[:500]}]
            ops += found
            if not found:
                unclear.append(said.text)
        else:
            talk.append(said.kind)
    cut = (
        len(message) > MESSAGE_CHARS or any(len(s) > _SENTENCE_CHARS for s in sentences) or len(sentences) > _SENTENCES
    )
    return BlockPlan(tuple(ops), ask, question, tuple(talk), tuple(unclear), cut)
