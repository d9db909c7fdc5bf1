"""The interface between a run of journaled jobs and the work that it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import attrs

from ..models import EndpointHealth
from ._events import Event
from ._journal import JobRecord


class JournaledJob(Protocol):
    """A job that can be journaled."""

    @property
    def key(self) -> str: ...

    @property
    def digest(self) -> str:
        """A hash of everything that determines the job, to detect edits."""

    @property
    def deadline(self) -> float | None:
        """Working seconds, if different from the run's."""


J = TypeVar("J", bound=JournaledJob)
J_contra = TypeVar("J_contra", bound=JournaledJob, contravariant=True)


@attrs.frozen
class JobEnd:
    """The end of a job: the outcome, which is journaled and written as a row."""

    state: Literal["done", "failed"]
    outcome: Mapping[str, Any]
    no_reply: bool = False
    """The job is done, and one of its messages got no reply."""
    earlier: Sequence[Event] = ()
    """The events of the attempts before the conversation that counts, shown with the run."""
    afterwards: Callable[[], Awaitable[None]] | None = None
    """Called when the outcome is journaled, to remove what was needed to resume the job until then."""


class Work(Protocol[J_contra]):
    """The work of a run on its jobs.

    Attributes:
        can_cut_waits: a job that waits for a rate limit or a retry loses nothing if it is cancelled there.
    """

    can_cut_waits: bool

    async def run(self, job: J_contra, record: JobRecord) -> JobEnd | None:
        """Work on *job*, resuming from *record*; None if it is left to be resumed by another start.

        An exception fails the job, except those that say that a server is unavailable or refuses everything, that a
        disk is full, or that the budget is used up: these leave the job to be resumed.
        """

    def endpoints(self, job: J_contra) -> Iterable[EndpointHealth]:
        """The endpoints that the job needs, as far as they are known."""

    def chose_model(self, job: J_contra) -> bool:
        """Whether the job names a model of its own, so that it fails alone if the model does not exist."""

    def forget(self, job: J_contra) -> None:
        """The job is left to be resumed by another start."""

    async def failure(self, job: J_contra, record: JobRecord, error: Exception) -> Mapping[str, Any]:
        """The outcome of a job that failed with *error*."""
