"""The result of a rollout: every token, who wrote it, and the changes to the notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from .._messages import ChatMessage
from .._wire import read_value, strict_converter
from ..evals import SampleAnswer

_converter = strict_converter()


@attrs.frozen(kw_only=True)
class TokenSegment:
    """A run of tokens from one side.

    Attributes:
        by: "model", or "environment" for prompt, messages and results.
        logprobs: of each id; None if unknown, as for all of the environment's.
        text: the decoded ids; the ids are authoritative.
        finish_reason: of the model's, as in `TokenCompletion`.
    """

    by: Literal["model", "environment"]
    ids: tuple[int, ...]
    logprobs: tuple[float | None, ...] = ()
    text: str = ""
    finish_reason: str = ""


@attrs.frozen(kw_only=True)
class TurnSample:
    """One answer of a server that returns text without ids, in ids of our own tokenizer.

    The tokenizer encodes the text, which need not give the ids that the model sampled.

    Attributes:
        prompt_ids: of everything that the model was shown.
        ids: of its answer.
        text: the answer.
        finish_reason: the server's.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    finish_reason: str = ""


@attrs.frozen(kw_only=True)
class Trajectory:
    """One episode.

    Attributes:
        segments: in order; joined, their ids are exactly what the model saw and wrote. None if the server returned no
            ids: see *samples*.
        samples: of a server without ids: one for each answer. `join_samples` joins them, if that is exact.
        messages: the conversation, for people.
        replies: to each message; "" for none.
        stop_reasons: of each message, as in `AgentResponse`.
        repairs: how often the model's answers needed each kind of repair.
        notes_before, notes_after: texts by path.
        rewards: by name, and *reward*, their weighted sum.
        model: its name.
    """

    segments: tuple[TokenSegment, ...]
    samples: tuple[TurnSample, ...] = ()
    messages: tuple[ChatMessage, ...]
    replies: tuple[str, ...]
    stop_reasons: tuple[str, ...]
    repairs: Mapping[str, int]
    notes_before: Mapping[str, str]
    notes_after: Mapping[str, str]
    rewards: Mapping[str, float] = attrs.field(factory=dict)
    reward: float = 0.0
    model: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids."""
        return tuple(token for segment in self.segments for token in segment.ids)

    @property
    def loss_mask(self) -> tuple[int, ...]:
        """For each id 1 if the model wrote it, else 0."""
        return tuple(int(segment.by == "model") for segment in self.segments for _ in segment.ids)

    @property
    def logprobs(self) -> tuple[float | None, ...]:
        """For each id the logarithm of its probability when it was sampled; None if it was not, or is unknown."""
        return tuple(
            logprob for segment in self.segments for logprob in (segment.logprobs or (None,) * len(segment.ids))
        )

    @property
    def tokens_written(self) -> int:
        """How many tokens the model wrote."""
        return sum(self.loss_mask) + sum(len(sample.ids) for sample in self.samples)

    @property
    def answer(self) -> SampleAnswer:
        """The episode in the form that graders take."""
        return SampleAnswer(replies=self.replies, before=self.notes_before, after=self.notes_after)

    def to_json(self) -> dict[str, Any]:
        """A record of it, which `from_json` reads and `RecordedTokens` replays."""
        body: dict[str, Any] = _converter.unstructure(self)
        return body

    @classmethod
    def from_json(cls, body: object) -> Trajectory:
        """Inverse of `to_json`.

        Raises:
            InvalidInputError: *body* is not such a record; the place is named.
        """
        return read_value(_converter, body, cls, "trajectory")
