"""`OfflineRulesModel`: the rules with the interface of a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import trio

from ..._messages import ChatMessage, Usage
from .._base import AnswerEnd, AnswerPart, TextDelta
from .._names import OFFLINE_RULES
from ._respond import respond


class OfflineRulesModel:
    """The embedded default "model": not a language model, but rules that note, correct, forget and look up facts.

    Needs no network and keeps no state: equal conversations get equal answers.
    """

    name = OFFLINE_RULES

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        """The parts of one answer: its text, then its end. Token counts are estimated at four characters per token."""
        await trio.lowlevel.checkpoint()
        text = respond(messages)
        read = sum(len(message.content) for message in messages)
        usage = Usage(prompt_tokens=read // 4, completion_tokens=len(text) // 4, estimated=True)
        async with aclosing(_parts(TextDelta(text), AnswerEnd(usage, "stop"))) as parts:
            yield parts


async def _parts(*parts: AnswerPart) -> AsyncGenerator[AnswerPart, None]:
    for part in parts:
        yield part
        await trio.lowlevel.checkpoint()
