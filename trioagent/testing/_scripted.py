"""A model with scripted answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import trio

from .._messages import ChatMessage, Usage
from ..models import AnswerEnd, AnswerPart, Retrying, TextDelta

Answering = Callable[[Sequence[ChatMessage]], str | Sequence[AnswerPart]]
ScriptedAnswer = str | Exception | Sequence[AnswerPart] | Answering


class ScriptedModel:
    """A :class:`~trioagent.Model` that gives the next answer of its script to each request, in order of arrival.

    Args:
        answers: one for each request: a text; an exception, to be raised; a sequence of answer parts, passed on
            unchanged (to test a retry, or a finish reason); or a function from the messages to the text or parts.
            A single function is used for all requests.
        chunk: characters of text in one delta.
        delay: seconds before the first part (by ``trio.sleep``, so it works with a mock clock).
        name: the model's name.

    Attributes:
        calls: the messages of each request so far.
    """

    def __init__(
        self,
        answers: Iterable[ScriptedAnswer] | Answering,
        *,
        chunk: int = 16,
        delay: float = 0.0,
        name: str = "scripted",
    ) -> None:
        self.calls: list[tuple[ChatMessage, ...]] = []
        self._answers = iter(lambda: answers, None) if callable(answers) else iter(answers)
        self._chunk, self._delay, self._name = chunk, delay, name

    @property
    def name(self) -> str:
        return self._name

    def answer(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[AsyncIterator[AnswerPart]]:
        """The next answer of the script.

        Raises:
            AssertionError: the script has no answer left (raised by the iterator, as all errors).
        """
        return aclosing(self._parts(tuple(messages)))

    async def _parts(self, messages: tuple[ChatMessage, ...]) -> AsyncGenerator[AnswerPart, None]:
        self.calls.append(messages)
        answer: object = next(self._answers, None)
        await trio.sleep(self._delay)
        if answer is None:
            raise AssertionError(f"the script has no answer for request {len(self.calls)}, which ends {messages[-1:]}")
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer(messages)
        parts = self._split(messages, answer) if isinstance(answer, str) else answer
        assert isinstance(parts, Sequence), f"not an answer: {answer!r}"
        for part in parts:
            yield part
            await trio.sleep(part.delay if isinstance(part, Retrying) else 0)

    def _split(self, messages: Sequence[ChatMessage], text: str) -> list[AnswerPart]:
        deltas = [TextDelta(text[i : i + self._chunk]) for i in range(0, len(text), self._chunk)]
        return [*deltas, AnswerEnd(Usage.estimate(messages, len(text)), "stop")]
