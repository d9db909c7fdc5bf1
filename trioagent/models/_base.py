"""The `Model` protocol: messages in, parts of an answer out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from .._errors import ModelError
from .._messages import ChatMessage, Usage


@attrs.frozen
class TextDelta:
    """The next piece of the answer's text.

    Attributes:
        last: only `AnswerEnd` follows, without further waiting. A model may leave it unset on its last piece.
    """

    text: str
    last: bool = attrs.field(default=False, eq=False, repr=False)


@attrs.frozen
class ReasoningDelta:
    """The next piece of thoughts that the server sends apart from the answer's text."""

    text: str


@attrs.frozen
class Retrying:
    """An attempt failed and another follows: discard all text of this answer so far.

    Attributes:
        error: why.
        delay: seconds until the next attempt starts.
        attempt: the number of the attempt that failed, from 1.
    """

    error: ModelError
    delay: float
    attempt: int


@attrs.frozen
class AnswerEnd:
    """The end of the answer.

    Attributes:
        finish_reason: the server's word ("stop", "length", …); `trioagent._server_behaviour.NO_FINISH_REASON` for a
            stream that ended without one although the server gives one as a rule.
    """

    usage: Usage
    finish_reason: str


AnswerPart = TextDelta | ReasoningDelta | Retrying | AnswerEnd


class Model(Protocol):
    """Anything that can answer a conversation.

    ``answer`` is an async context manager over the parts of one answer. Leaving it early stops the generation and
    releases the connection. Cancelling it anywhere leaves no socket and no permit behind.
    """

    @property
    def name(self) -> str: ...

    def answer(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[AsyncIterator[AnswerPart]]: ...
