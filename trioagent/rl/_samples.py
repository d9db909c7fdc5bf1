"""Episodes on a server that returns text only: one sample for each answer, joined only if that is proven exact."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import attrs
import trio

from .._errors import InvalidInputError, TrioAgentError
from .._messages import ChatMessage
from ..models import AnswerEnd, AnswerPart, Model, TextDelta, complete
from ._tokens import said_by_role
from ._trajectory import TokenSegment, Trajectory, TurnSample
from ._vllm import Template


class PrefixNotProvenError(TrioAgentError):
    """The samples of an episode are not prefixes of each other in tokens, so they make no exact trajectory.

    Attributes:
        turn: the first answer, from 1, that is not unchanged in the next prompt.
        token: the position in the ids where they differ.
    """

    def __init__(self, turn: int, token: int) -> None:
        super().__init__(turn, token)
        self.turn: int = turn
        self.token: int = token

    def __str__(self) -> str:
        return (
            f"answer {self.turn} and what came before it are not the beginning of the next prompt (they differ at "
            f"token {self.token}); train on the samples one by one, or have the server return the ids that it "
            "generates: return_token_ids (vLLM), return_logprob (SGLang), return_tokens (llama.cpp)"
        )


@attrs.frozen(kw_only=True)
class TextTokenizer:
    """The model's own tokenizer and chat template, for a server that returns no ids.

    Attributes:
        encode: returns the ids of a text, with special tokens recognised and none added.
        template: renders messages, up to where the model's answer begins.
    """

    encode: Callable[[str], Sequence[int]]
    template: Template


def join_samples(episode: Trajectory) -> Trajectory:
    """*episode* with its samples joined into segments.

    Raises:
        PrefixNotProvenError: prompt and answer of a sample are not the beginning of the next one's prompt, id for id.
        InvalidInputError: it has no samples.
    """
    if not episode.samples:
        raise InvalidInputError("episode", "has no samples; its segments are exact already")
    known: tuple[int, ...] = ()
    segments: list[TokenSegment] = []
    for turn, sample in enumerate(episode.samples):
        if sample.prompt_ids[: len(known)] != known:
            pairs = enumerate(zip(known, sample.prompt_ids, strict=False))
            differ = (place for place, (one, other) in pairs if one != other)
            raise PrefixNotProvenError(turn, next(differ, min(len(known), len(sample.prompt_ids))))
        segments += [
            TokenSegment(by="environment", ids=sample.prompt_ids[len(known) :]),
            TokenSegment(by="model", ids=sample.ids, text=sample.text, finish_reason=sample.finish_reason),
        ]
        known = sample.prompt_ids + sample.ids
    return attrs.evolve(episode, segments=tuple(segments), samples=())


class TextConversation:
    """A `trioagent.Model` over one that returns text: each answer is requested whole, and kept as a sample."""

    def __init__(self, model: Model, tokenizer: TextTokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.samples: list[TurnSample] = []
        self.segments: list[TokenSegment] = []

    @property
    def name(self) -> str:
        return self._model.name

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        """See `trioagent.Model.answer`."""
        completion = await complete(self._model, messages)
        self.samples.append(
            await trio.to_thread.run_sync(self._sample, tuple(messages), completion.text, completion.finish_reason)
        )
        end = AnswerEnd(completion.usage, completion.finish_reason)
        async with aclosing(_parts(TextDelta(completion.text), end)) as parts:
            yield parts

    def _sample(self, messages: Sequence[ChatMessage], text: str, finish_reason: str) -> TurnSample:
        prompt = self._tokenizer.template(said_by_role(messages))
        return TurnSample(
            prompt_ids=tuple(self._tokenizer.encode(prompt)),
            ids=tuple(self._tokenizer.encode(text)),
            text=text,
            finish_reason=finish_reason,
        )


async def _parts(*parts: AnswerPart) -> AsyncGenerator[AnswerPart, None]:
    for part in parts:
        yield part
