"""The `Model` protocol: messages in, parts of an answer out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from .._errors import ModelError
from .._messages import ChatMessage, Usage
from .._server_behaviour import Change


@attrs.frozen
class TextDelta:
    """The next piece of the answer's text.

    Attributes:
        last: only `AnswerEnd` follows, without further waiting. A model may leave it unset on its last delta.
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
        finish_reason: as sent by the server ("stop", "length", …); `trioagent._server_behaviour.NO_FINISH_REASON` for a
            stream that ended without one although the server normally sends one.
    """

    usage: Usage
    finish_reason: str


AnswerPart = TextDelta | ReasoningDelta | Retrying | AnswerEnd


class Model(Protocol):
    """Anything that can answer a conversation.

    ``answer`` is an async context manager over the parts of one answer. Leaving it early stops the generation and
    releases the connection. Cancelling it at any point leaves no socket and no permit behind.
    """

    @property
    def name(self) -> str: ...

    def answer(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[AsyncIterator[AnswerPart]]: ...


class AnswerSource(Protocol):
    """One answer of a server in progress. Every one must be closed, whatever happens to it.

    Attributes:
        chars: of text and reasoning so far.
        finish_reason, usage: as sent by the server so far; "" and None before.
    """

    chars: int
    finish_reason: str
    usage: Usage | None

    async def next(self) -> Sequence[TextDelta | ReasoningDelta] | None:
        """The next parts, waiting for them; None at the end.

        Raises:
            ModelError: there is no answer, or an incomplete one.
        """

    def end(self, messages: Sequence[ChatMessage], *, gives_finish_reason: bool) -> AnswerEnd:
        """The end of the answer to *messages*, once `next` has returned None.

        Args:
            gives_finish_reason: other answers of this server had a finish reason.
        """

    async def aclose(self) -> None: ...


class RequestSender(Protocol):
    """Sends single requests to one model at one address; rates, retries and the endpoint's health are the caller's."""

    async def send(
        self, messages: Sequence[ChatMessage], changes: frozenset[Change], headers: Mapping[str, str]
    ) -> AnswerSource:
        """Send one request.

        Args:
            changes: adaptations for what the server does not accept.
            headers: of this request alone.

        Raises:
            ModelError: nothing answered.
        """
