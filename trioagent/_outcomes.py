"""Outcomes of jobs and agents that run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import attrs

from .agent import Agent

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class JobDone(Generic[T_co]):
    """The job succeeded."""

    key: str
    value: T_co
    seconds: float


@attrs.frozen
class JobFailed:
    """The job raised *error*; a deadline that passed is `DeadlineExceededError`."""

    key: str
    error: Exception
    seconds: float


@attrs.frozen
class JobCancelled:
    """The job was cancelled by `Runner.cancel`."""

    key: str
    seconds: float


Outcome = JobDone[T] | JobFailed | JobCancelled


@attrs.frozen
class AgentFailure:
    """One agent's failure among those of `run_agents`.

    Attributes:
        index: its position in both lists.
        agent: None once pickled: an agent belongs to the runtime of its process.
        message: the message to it.
        error: the error of its chat.
        memory_path: its notes.
    """

    index: int
    agent: Agent | None
    message: str
    error: Exception
    memory_path: str

    def __reduce__(self) -> tuple[type[AgentFailure], tuple[object, ...]]:
        return AgentFailure, (self.index, None, self.message, self.error, self.memory_path)


class AgentsFailedError(ExceptionGroup[Exception]):
    """The failures of `run_agents`; its members are the agents' own errors, for ``except*``.

    Attributes:
        failures: the same errors with agent, message and position in the lists.
    """

    failures: tuple[AgentFailure, ...]

    def __new__(cls, message: str, failures: Sequence[AgentFailure]) -> Self:
        self = super().__new__(cls, message, [failure.error for failure in failures])
        self.failures = tuple(failures)
        return self

    def __reduce__(self) -> tuple[type[AgentsFailedError], tuple[object, ...], dict[str, object]]:
        state = {name: value for name, value in vars(self).items() if name != "failures"}
        return AgentsFailedError, (self.message, self.failures), state

    def derive(self, excs: Sequence[Any]) -> Any:
        """Keep the failures that belong to *excs* when ``except*`` splits the group."""
        kept = [failure for failure in self.failures if any(failure.error is error for error in excs)]
        return AgentsFailedError(self.message, kept) if len(kept) == len(excs) else ExceptionGroup(self.message, excs)
