"""A recorded episode in place of a model: replays its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from .._messages import ChatMessage
from ._tokens import TokenCompletion, TokenServerError
from ._trajectory import Trajectory


class RecordedTokens:
    """A `TokenModel` that replays the model's answers of *trajectory*, if its input is the same.

    The environment's text must result in the recorded ids, which checks that notes, blocks and template behave as then.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self._record = trajectory
        self._at = 0  # of the segments

    @property
    def name(self) -> str:
        """The name of the recorded model."""
        return self._record.model

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """See `TokenModel.render`; a template of its own, which `tokenize` knows."""
        await trio.lowlevel.checkpoint()
        return "\n".join(message.content for message in messages) + "\n"

    async def tokenize(self, text: str, *, at_start: bool) -> tuple[int, ...]:
        """The recorded ids at this place."""
        await trio.lowlevel.checkpoint()
        if self._at >= len(self._record.segments):
            raise self._differs("ends here, and the episode continues")
        segment = self._record.segments[self._at]
        if segment.by != "environment":
            raise self._differs("has the model's tokens here, and the environment speaks")
        self._at += 1
        return segment.ids

    async def generate(self, ids: Sequence[int], stop: Sequence[str]) -> TokenCompletion:
        """The recorded answer.

        Raises:
            TokenServerError: the episode differs from the record.
        """
        await trio.lowlevel.checkpoint()
        seen = [token for segment in self._record.segments[: self._at] for token in segment.ids]
        if list(ids) != seen:
            raise self._differs("has other ids before this answer")
        if self._at >= len(self._record.segments) or self._record.segments[self._at].by != "model":
            raise self._differs("has no answer here")
        segment = self._record.segments[self._at]
        self._at += 1
        return TokenCompletion(
            ids=segment.ids, logprobs=segment.logprobs, text=segment.text, finish_reason=segment.finish_reason
        )

    def _differs(self, how: str) -> TokenServerError:
        return TokenServerError("record", how)
