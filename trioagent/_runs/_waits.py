"""The waits of a run's jobs: for another attempt at a request, an unavailable server, a rate limit.

They are kept in RAM until the next event of their job is journaled, and are written in that transaction. So a job that
does not wait has no cost, and one that does causes no write of its own. The table is created at the first wait of a
run: in a journal without it no job has waited, and earlier releases, which do not know the table, ignore it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence

import attrs

from ._tables import has_table

# Seconds. A run without patience does not wait for outages; short waits for a rate limit are not recorded.
_SHORTEST: Mapping[str, float] = {"retrying": 0.0, "held": 0.001, "rate": 1.0}
_MOST_PENDING = 100  # of one job, between two events; further ones are added to the last
_CAUSE_CHARS = 300

_TABLE = """
CREATE TABLE IF NOT EXISTS waits (
    id TEXT NOT NULL, attempt INTEGER NOT NULL, n INTEGER NOT NULL,
    state TEXT NOT NULL, began REAL NOT NULL, seconds REAL NOT NULL, cause TEXT NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS waits_by_id ON waits (id)"
_COLUMNS = "attempt, n, state, began, seconds, cause"


@attrs.frozen(kw_only=True)
class JobWait:
    """One wait of a job.

    Attributes:
        attempt: of the job.
        n: the number of the event of that attempt that came next.
        state: "retrying", "held" or "rate" (see `Activity`).
        began: seconds since 1970.
        seconds: how long it was.
        cause: the error that caused the wait, as text; "" for a rate limit.
    """

    attempt: int
    n: int
    state: str
    began: float
    seconds: float
    cause: str


class PendingWaits:
    """Waits that are not journaled yet, by job."""

    def __init__(self) -> None:
        self._by_job: dict[str, list[JobWait]] = {}

    def note(self, job_id: str, state: str, seconds: float, cause: str) -> None:
        """A job has waited; the attempt and the number of the next event are given by `take`."""
        shortest = _SHORTEST.get(state)
        if shortest is None or seconds < shortest:
            return
        waits = self._by_job.setdefault(job_id, [])
        if len(waits) >= _MOST_PENDING:
            waits[-1] = attrs.evolve(waits[-1], seconds=waits[-1].seconds + seconds)
            return
        began = time.time() - seconds
        waits.append(JobWait(attempt=0, n=0, state=state, began=began, seconds=seconds, cause=cause[:_CAUSE_CHARS]))

    def take(self, job_id: str) -> Sequence[JobWait]:
        """The waits of a job; the caller journals them."""
        return self._by_job.pop(job_id, ()) if self._by_job else ()

    def take_all(self) -> dict[str, list[JobWait]]:
        """The waits of all jobs; the caller journals them."""
        found, self._by_job = self._by_job, {}
        return found


def insert_waits(cursor: sqlite3.Cursor, job_id: str, waits: Sequence[JobWait], *, before: int | None = None) -> None:
    """Record the waits of a running job; nothing if its beginning could not be written (a full disk).

    Args:
        before: the number of the event that came next; None if there was none.
    """
    if not waits:
        return
    cursor.execute(_TABLE)
    cursor.execute(_INDEX)
    if (job := cursor.execute("SELECT seq, attempts FROM jobs WHERE id = ?", (job_id,)).fetchone()) is None:
        return
    seq, attempt = job
    if before is None:
        select = "SELECT coalesce(max(n), -1) + 1 FROM events WHERE seq = ? AND attempt = ?"
        (before,) = cursor.execute(select, (seq, attempt)).fetchone()
    rows = [(job_id, attempt, before, wait.state, wait.began, wait.seconds, wait.cause) for wait in waits]
    cursor.executemany(f"INSERT INTO waits (id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def has_waits(cursor: sqlite3.Cursor, database: str = "main") -> bool:
    """Whether any job of the run has waited."""
    return has_table(cursor, "waits", database)


def read_waits(cursor: sqlite3.Cursor, job_id: str, most: int) -> tuple[list[JobWait], int]:
    """The waits of a job, in order, and how many there are beyond *most*."""
    if not has_waits(cursor):
        return [], 0
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM waits WHERE id = ? ORDER BY attempt, n, rowid LIMIT ?", (job_id, most)
    ).fetchall()
    (total,) = cursor.execute("SELECT count(*) FROM waits WHERE id = ?", (job_id,)).fetchone()
    waits = [
        JobWait(attempt=attempt, n=n, state=state, began=began, seconds=seconds, cause=cause)
        for attempt, n, state, began, seconds, cause in rows
    ]
    return waits, total - len(waits)


def drop_waits(cursor: sqlite3.Cursor, job_id: str) -> None:
    """Drop the waits of a job, whose causes contain servers' texts."""
    if has_waits(cursor):
        cursor.execute("DELETE FROM waits WHERE id = ?", (job_id,))


def copy_waits(cursor: sqlite3.Cursor, database: str) -> None:
    """Copy the waits of an attached journal."""
    if has_waits(cursor, database):
        cursor.execute(_TABLE)
        cursor.execute(_INDEX)
        cursor.execute(f"INSERT INTO waits (id, {_COLUMNS}) SELECT id, {_COLUMNS} FROM {database}.waits")
