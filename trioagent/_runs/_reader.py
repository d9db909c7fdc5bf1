"""A run's journal from outside: read-only, at any time, by any process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from .._errors import InvalidInputError
from ._journal import (
    FILE_NAME,
    LOOK_AHEAD,
    READABLE,
    UNKNOWN_FORMAT,
    UNREADABLE,
    JournalError,
    KnownJob,
    has_outcomes,
    known_jobs,
    read_meta,
    read_object,
    spent,
)
from ._spending import Spending

T = TypeVar("T")


class JournalReader:
    """Reads a run's journal, also while another process writes it. Synchronous; for use in a worker thread.

    Raises:
        InvalidInputError: nothing was run in that directory.
        JournalError: the file cannot be read (also raised by the methods).

    Attributes:
        version: the format of the journal.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE_NAME
        if not self._path.is_file():
            raise InvalidInputError("run directory", f"{str(run_dir)!r} holds no {FILE_NAME}: nothing was run there")
        try:
            self._connection = sqlite3.connect(read_only_uri(self._path), uri=True)
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self.version: int = self._check_version()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._connection.close()

    def holds(self) -> str | None:
        """The kind of jobs in it, for people; None for an old journal that does not record it."""
        row = self._read(lambda cursor: cursor.execute("SELECT value FROM meta WHERE key = 'holds'").fetchone())
        return None if row is None else str(row[0])

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return self._read(
            lambda cursor: dict(cursor.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        )

    def spent(self) -> Spending:
        """The cost of all answers recorded so far."""
        return self._read(spent)

    def has_outcomes(self) -> bool:
        """Whether the run has produced anything yet: an answer, a job that ended."""
        return self._read(has_outcomes)

    def read_meta(self, key: str) -> Mapping[str, Any] | None:
        """What was recorded about the run under this key."""
        return self._read(lambda cursor: read_meta(cursor, key))

    def look_up(self, job_ids: Sequence[str]) -> list[KnownJob | None]:
        """What is known of each job, None for those never begun; for a few hundred at a time."""
        return self._read(lambda cursor: known_jobs(cursor, job_ids))

    def outcomes(self, state: Literal["done", "failed"]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """``(id, attempts, outcome)`` of all jobs in *state*, in the order in which they were first begun."""
        select = "SELECT id, attempts, outcome FROM jobs WHERE state = ? ORDER BY seq"
        try:
            for job_id, attempts, outcome in self._connection.execute(select, (state,)):
                yield job_id, attempts, self._outcome(job_id, outcome)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _outcome(self, job_id: object, text: str) -> Mapping[str, Any]:
        try:
            return read_object(text)
        except UNREADABLE as error:
            raise JournalError(
                str(self._path), f"the outcome of job {job_id!r} cannot be read back: {error}"
            ) from error

    def _check_version(self) -> int:
        (version,) = self._read(lambda cursor: cursor.execute("PRAGMA user_version").fetchone())
        if version == 0:  # its process was killed before the first transaction
            problem = f"the {FILE_NAME} in {str(self._path.parent)!r} is empty: nothing was run there"
            raise InvalidInputError("run directory", problem)
        if version not in READABLE:
            raise JournalError(str(self._path), UNKNOWN_FORMAT.format(version=version))
        return int(version)

    def _read(self, query: Callable[[sqlite3.Cursor], T]) -> T:
        try:
            return query(self._connection.cursor())
        except (sqlite3.Error, *UNREADABLE) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> JournalError:
        return JournalError(str(self._path), f"cannot be read: {error}")


def read_only_uri(path: Path) -> str:
    """The URI with which SQLite opens a journal for reading only."""
    mode = "mode=ro"
    if not path.with_name(f"{path.name}-wal").exists():
        # Nobody has it open and nothing needs recovery; without this a reader leaves a -wal and a -shm behind.
        mode += "&immutable=1"
    return f"{path.absolute().as_uri()}?{mode}"


def outcomes_of(run_dir: Path, state: Literal["done", "failed"]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """See `JournalReader.outcomes`; nothing, if nothing was run in *run_dir*.

    Raises:
        JournalError: the journal cannot be read.
    """
    with ExitStack() as stack:
        with suppress(InvalidInputError):
            yield from stack.enter_context(JournalReader(run_dir)).outcomes(state)


def look_up_jobs(run_dir: Path, job_ids: Sequence[str]) -> list[KnownJob | None]:
    """The state of each job from earlier starts in *run_dir*, also if nothing was run there. Writes nothing.

    Raises:
        JournalError: the journal cannot be read.
    """
    if not (run_dir / FILE_NAME).is_file():
        return [None] * len(job_ids)
    with JournalReader(run_dir) as journal:
        chunks = (job_ids[start : start + LOOK_AHEAD] for start in range(0, len(job_ids), LOOK_AHEAD))
        return [known for chunk in chunks for known in journal.look_up(chunk)]
