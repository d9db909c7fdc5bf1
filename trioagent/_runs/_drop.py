"""Dropping the journaled data of failed jobs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import attrs

from .._errors import InvalidInputError
from .._files import user_path
from ._journal import BATCH, FILE_NAME, RESUMABLE, UNREADABLE, JournalError, lock_and_connect, read_object
from ._kept import drop_kept
from ._outputs import BATCH_FILES, Outputs
from ._waits import drop_waits


@attrs.frozen
class Dropped:
    """For how many failed jobs data was dropped, and how many events (with their images)."""

    jobs: int
    events: int


def drop_failed(run_dir: str | Path, job_ids: Sequence[str] = ()) -> Dropped:
    """Drop the journaled answers and results of failed jobs, and the images of the notes that they changed.

    The jobs stay failed. When retried, they begin from the start, and their changes are not rolled back. The space is
    returned to the file system. Synchronous; not while a process runs the batch.

    Args:
        job_ids: the jobs; all failed ones if there are none.

    Raises:
        InvalidInputError: nothing was run there, or a job has not failed; nothing was dropped.
        JournalError: the journal cannot be used, or another process runs the batch.
    """
    folder = user_path(run_dir, "run_dir")
    path = folder / FILE_NAME
    if not path.is_file():
        raise InvalidInputError("run directory", f"{str(folder)!r} holds no {FILE_NAME}: nothing was run there")
    lock, connection, _ = lock_and_connect(folder, path, BATCH)
    try:
        try:
            dropped = _drop(connection, job_ids)
        finally:
            connection.close()
        Outputs(folder, False, BATCH_FILES).close()  # rewrites the rows, which say which jobs can be resumed
    except sqlite3.Error as error:
        raise JournalError(str(path), f"cannot be written: {error}; run it again") from error
    finally:
        lock.release()
    return dropped


def _drop(connection: sqlite3.Connection, job_ids: Sequence[str]) -> Dropped:
    connection.execute("PRAGMA secure_delete = ON")  # so that nothing of it can be read from the file
    connection.execute("BEGIN IMMEDIATE")
    try:
        failed = {
            job_id: (seq, outcome)
            for seq, job_id, outcome in connection.execute("SELECT seq, id, outcome FROM jobs WHERE state = 'failed'")
        }
        if others := [job_id for job_id in job_ids if job_id not in failed]:
            raise InvalidInputError("jobs", f"have not failed in this run: {', '.join(map(repr, others))}")
        jobs = events = kept = 0
        for job_id in dict.fromkeys(job_ids or failed):
            seq, outcome = failed[job_id]
            count = connection.execute("DELETE FROM events WHERE seq = ?", (seq,)).rowcount
            drop_waits(connection.cursor(), job_id)
            rows = drop_kept(connection.cursor(), seq)
            jobs, events, kept = jobs + (count + rows > 0), events + count, kept + rows
            connection.execute("UPDATE jobs SET outcome = ? WHERE seq = ?", (_from_the_start(outcome), seq))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()
    if events or kept:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Dropped(jobs, events)


def _from_the_start(outcome: str) -> str:
    """The outcome without the mark that its job can be resumed from its events."""
    try:
        return json.dumps({name: value for name, value in read_object(outcome).items() if name != RESUMABLE})
    except UNREADABLE:
        return outcome
