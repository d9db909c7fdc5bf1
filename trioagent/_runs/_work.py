"""What a run of journaled jobs asks of the work that it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import attrs

from ..models import EndpointHealth
from ._events import Event
from ._journal import JobRecord


class JournaledJob(Protocol):
    """A job that a journal can know."""

    @property
    def key(self) -> str: ...

    @property
    def digest(self) -> str:
        """Of all that decides what the job is, to notice that it was edited."""

    @property
    def deadline(self) -> float | None:
        """Working seconds, if not the run's own."""


J = TypeVar("J", bound=JournaledJob)
J_contra = TypeVar("J_contra", bound=JournaledJob, contravariant=True)


@attrs.frozen
class JobEnd:
    """What a job came to: the outcome that is journaled, and made a row of."""

    state: Literal["done", "failed"]
    outcome: Mapping[str, Any]
    no_reply: bool = False
    """The job is done, and a message of it got no reply."""
    earlier: Sequence[Event] = ()
    """What it had come to before the conversation that counts, for whoever looks at the run."""
    afterwards: Callable[[], Awaitable[None]] | None = None
    """Called when the journal has the outcome, to remove what was needed for going on until then."""


class Work(Protocol[J_contra]):
    """What a run does with its jobs.

    Attributes:
        can_cut_waits: a job that waits for a rate limit or a retry loses nothing if it is cancelled there.
    """

    can_cut_waits: bool

    async def run(self, job: J_contra, record: JobRecord) -> JobEnd | None:
        """Work on *job* from where *record* left it; None if it is to go on in another run.

        An exception fails the job, except those that say that a server is unavailable or refuses everything, that a
        disk is full, or that the budget is used up: these leave the job to be resumed.
        """

    def endpoints(self, job: J_contra) -> Iterable[EndpointHealth]:
        """Those that the job needs, as far as they are known by now."""

    def chose_model(self, job: J_contra) -> bool:
        """Whether the job names a model of its own, so that it fails alone if there is no such model."""

    def forget(self, job: J_contra) -> None:
        """The job is left to be gone on with by another run."""

    async def failure(self, job: J_contra, record: JobRecord, error: Exception) -> Mapping[str, Any]:
        """The outcome of a job that failed with *error*."""
