"""Rewards: functions of an episode, to be composed with weights."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..evals import Grader
from ._trajectory import Trajectory

Reward = Callable[[Trajectory], float]
"""Pure: the same episode always gets the same reward."""


@attrs.frozen
class AnswerReward:
    """The grade of a grader of `trioagent.evals` for the last reply."""

    grader: Grader

    def __call__(self, episode: Trajectory) -> float:
        return self.grader(episode.answer).score


@attrs.frozen
class NotesReward:
    """A grader's grade for the notes; 0 if the episode was cut or had no reply.

    Attributes:
        grader: such as `trioagent.evals.NotesChanged` or `NotesSay`.
    """

    grader: Grader

    def __call__(self, episode: Trajectory) -> float:
        if any(reason != "reply" for reason in episode.stop_reasons):
            return 0.0
        return self.grader(episode.answer).score


@attrs.frozen
class FormatReward:
    """1 for answers that follow the protocol, minus *each* for every repair that they needed, down to 0."""

    each: float = 0.25

    def __call__(self, episode: Trajectory) -> float:
        return max(0.0, 1.0 - self.each * sum(episode.repairs.values()))


@attrs.frozen
class LengthReward:
    """1 up to *free* tokens of the model, then falling linearly to 0 at *most*."""

    free: int
    most: int

    def __call__(self, episode: Trajectory) -> float:
        return min(1.0, max(0.0, (self.most - episode.tokens_written) / (self.most - self.free)))
