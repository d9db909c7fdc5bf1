"""An optional final decision by a model: is the conversation good enough to train on?"""

from __future__ import annotations

from typing import Literal

import attrs

from .._activity import doing
from .._config import Flow
from .._errors import StructuredOutputError
from .._messages import ChatMessage, Usage
from ..models import Model, complete
from ._transcript import Transcript, Verdict

JUDGE = "judge"
_REPLY_CHARS = 4_000
_DIFF_CHARS = 20_000

_WANTED: dict[Flow, str] = {
    "introduce": "The user tells facts. The assistant must write them all down, correctly, and reply to what was said.",
    "update": "A fact changes. The notes must say the new one, not state the old one, and lose nothing else.",
    "retrieve": "The user asks for facts in the notes. The replies must say them, correctly, and make nothing up.",
}
_TASK = """You judge conversations between a user and an assistant that keeps notes about the user. Good ones are used
to train assistants, so be strict: accept only what should be imitated.

What was wanted: {wanted}"""


@attrs.frozen
class JudgeVerdict:
    """Your judgement of the conversation."""

    reason: str = attrs.field(metadata={"description": "in one or two sentences: what is wrong, or why it is good"})
    verdict: Literal["accept", "reject"]


async def judge_conversation(judge: Model, transcript: Transcript) -> tuple[Verdict, Usage]:
    """Ask *judge*; an answer that never matches the schema is a verdict too.

    Raises:
        ModelError: no answer, after all retries that made sense.
    """
    messages = [
        ChatMessage("system", _TASK.format(wanted=_WANTED[transcript.flow])),
        ChatMessage("user", describe(transcript)),
    ]
    try:
        with doing("model"):
            answer = await complete(judge, messages, schema=JudgeVerdict)
    except StructuredOutputError as error:
        return Verdict(JUDGE, False, f"no usable verdict: {error}"), error.usage
    return Verdict(JUDGE, answer.value.verdict == "accept", answer.value.reason), answer.usage


def describe(transcript: Transcript) -> str:
    """The judge's input: the facts, the messages, and the changes to the notes."""
    facts = [
        f"- {fact.fact_description}" + (f" (before: {fact.previous})" if fact.previous else "")
        for fact in transcript.facts
    ]
    said = [
        line
        for exchange in transcript.exchanges
        for line in (f"User: {exchange.said[:_REPLY_CHARS]}", f"Assistant: {exchange.reply[:_REPLY_CHARS]}")
    ]
    diff = "\n".join(transcript.diff.values())[:_DIFF_CHARS] or "(the notes did not change)"
    return "\n".join(["Facts:", *facts, "", "Conversation:", *said, "", "Changes of the notes:", diff])
