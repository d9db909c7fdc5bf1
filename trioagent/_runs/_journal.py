"""The batch's durable record: one SQLite database in WAL mode in the run directory.

A job has a row from its first start, and one event for each thing that must not happen twice: a model's answer (it
was paid for) and a block's result (its changes are in the notes); see `_events`. An event's key is job, attempt and
number. Those of a job that is done are dropped, those of one that failed are kept until it is tried again, with images
of the notes that it changed; the outcome stays, and what blocks changed, what earlier attempts came to (see `_kept`)
and what the job has waited for (see `_waits`). What the answers have cost is added up in the same transactions, so that
a budget holds over any number of runs.

Writes are grouped: the first task that comes while no write is in progress writes for all that wait by then, in one
transaction in one worker thread. A write that has returned survives the death of the process at any instant (not a
power cut: ``synchronous=NORMAL`` leaves the WAL's last pages to the operating system). A cancelled write has happened
whole or not at all.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import trio

from .._errors import DISK_FULL, FatalError, InvalidInputError
from .._json_steps import decode_in_thread
from . import _format1
from ._events import COLUMNS, Event, decode_event, encode_event
from ._kept import ChangeLog, keep_changes, keep_former
from ._lock import RunLock, take_run_lock
from ._outages import DiskWait
from ._spending import Spending
from ._waits import PendingWaits, insert_waits

T = TypeVar("T")
UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)  # what a damaged row can raise
JobState = Literal["running", "done", "failed"]

_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)

FILE_NAME = "journal.db"
SCHEMA_VERSION = 2
READABLE = (_format1.VERSION, SCHEMA_VERSION)
"""Formats whose jobs, outcomes and spending can be read; a run brings its journal up to date first."""
UNKNOWN_FORMAT = (
    f"has format {{version}}, and this trioagent reads formats {_format1.VERSION} and {SCHEMA_VERSION}; "
    "use the version that made it, or another run directory"
)
RESUMABLE = "resumable"
"""In the outcome of a job that failed for something outside of its conversation, and can go on from its events."""
LOOK_AHEAD = 200
"""Jobs looked up at once."""
BATCH = "batch jobs"
_SPEND = (
    "UPDATE spent SET prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?, cost = cost + ?"
)
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    attempts INTEGER NOT NULL,
    outcome TEXT,
    no_reply INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE TABLE spent (prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL);
INSERT INTO spent VALUES (0, 0, 0);
"""
_EVENTS = f"""
CREATE TABLE events (
    seq INTEGER NOT NULL, attempt INTEGER NOT NULL, n INTEGER NOT NULL, {", ".join(COLUMNS)},
    PRIMARY KEY (seq, attempt, n)
) WITHOUT ROWID
"""
_INSERT = f"INSERT INTO events VALUES (?, ?, ?, {', '.join('?' * len(COLUMNS))})"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events WHERE seq = ? AND attempt = ? ORDER BY n"
_SELECT_FORMER = f"SELECT {', '.join(COLUMNS)} FROM events WHERE seq = ? AND attempt < ? ORDER BY attempt, n"


class JournalError(FatalError):
    """The journal cannot be opened, read or written. The run cannot continue without it.

    Attributes:
        path: the database file.
        problem: what happened and what to do.
        disk_full: the disk, or a quota on it, is used up: when there is space, the same run can be resumed.
    """

    def __init__(self, path: str, problem: str, disk_full: bool = False) -> None:
        super().__init__(path, problem, disk_full)
        self.path: str = path
        self.problem: str = problem
        self.disk_full: bool = disk_full

    def __str__(self) -> str:
        return f"the batch's journal {self.path!r}: {self.problem}"


class JobChangedError(FatalError):
    """A job has changed since the run began, so its outcome would be another job's.

    Attributes:
        job_id: the job's id.
        run_dir: the run.
    """

    def __init__(self, job_id: str, run_dir: str) -> None:
        super().__init__(job_id, run_dir)
        self.job_id: str = job_id
        self.run_dir: str = run_dir

    def __str__(self) -> str:
        return (
            f"job {self.job_id!r} has changed since the run in {self.run_dir!r} began; "
            "restore it, give it a new id, or use another run directory"
        )


@attrs.frozen
class KnownJob:
    """State and digest of a known job, and whether it is done without a reply to one of its messages."""

    state: JobState
    digest: str
    no_reply: bool = False


@attrs.frozen
class JobRecord:
    """A running job.

    Attributes:
        seq: its number.
        attempts: how often it was begun from the start.
        events: of this attempt so far.
        former: results of earlier attempts, which failed; they are kept until `Journal.forget_former`.
        id: the job's own.
        changes: what the blocks of its conversation have changed; filled by the task that runs them.
    """

    seq: int
    attempts: int
    events: tuple[Event, ...] = ()
    former: tuple[Event, ...] = ()
    id: str = ""
    changes: ChangeLog = attrs.field(factory=ChangeLog, eq=False, repr=False)


class Journal:
    """Created by `open_journal`. Methods may be called concurrently by any number of tasks."""

    def __init__(self, connection: sqlite3.Connection, path: Path, run_id: str) -> None:
        self.path, self.run_id = path, run_id
        self._connection = connection
        self._lock = trio.Lock()
        self._waiting: list[_Write] = []
        self.disk_wait: DiskWait | None = None
        """How the run waits for disk space, if it does."""
        self.waits: PendingWaits = PendingWaits()
        """What its jobs have waited for; written with the next event of each."""

    async def begin(self, job_id: str, digest: str) -> JobRecord:
        """The record of a job that starts: a new one, or the state in which it stopped.

        A job that has ended starts again from the beginning, unless it failed for something outside of its
        conversation.

        Args:
            digest: of the job's content, to notice that it was edited (see `look_up`).
        """

        def write(cursor: sqlite3.Cursor) -> JobRecord:
            select = "SELECT seq, state, attempts, outcome FROM jobs WHERE id = ?"
            row = cursor.execute(select, (job_id,)).fetchone()
            if row is None:
                cursor.execute(
                    "INSERT INTO jobs (id, digest, state, attempts) VALUES (?, ?, 'running', 1)", (job_id, digest)
                )
                assert cursor.lastrowid is not None
                return JobRecord(cursor.lastrowid, 1, id=job_id)
            seq, state, attempts, outcome = row
            if state != "running":
                ended = read_object(outcome) if state == "failed" else _readable(outcome)
                if not (state == "failed" and ended.get(RESUMABLE)):
                    keep_former(cursor, seq, attempts, job_id, ended)
                    # Results tell what the attempt changed, which is still to be rolled back.
                    cursor.execute("DELETE FROM events WHERE seq = ? AND kind != 'result'", (seq,))
                    attempts += 1
                cursor.execute(
                    "UPDATE jobs SET state = 'running', attempts = ?, outcome = NULL, no_reply = 0 WHERE seq = ?",
                    (attempts, seq),
                )

            def events(select: str) -> tuple[Event, ...]:
                rows = cursor.execute(select, (seq, attempts)).fetchall()
                return tuple(decode_event(row, f"job {job_id!r}.events[{n}]") for n, row in enumerate(rows))

            former = events(_SELECT_FORMER) if attempts > 1 else ()
            return JobRecord(seq, attempts, events(_SELECT), former, id=job_id)

        return await self._write(write)

    async def forget_former(self, record: JobRecord) -> None:
        """Drop the events of attempts before this one."""
        delete = "DELETE FROM events WHERE seq = ? AND attempt < ?"
        await self._write(lambda cursor: cursor.execute(delete, (record.seq, record.attempts)).rowcount)

    async def add_event(self, record: JobRecord, n: int, event: Event, spending: Spending | None = None) -> None:
        """Record event number *n* (from 0) of this attempt of a job that runs, and what it cost."""
        waits = self.waits.take(record.id)

        def write(cursor: sqlite3.Cursor) -> None:
            insert_waits(cursor, record.id, waits, before=n)
            cursor.execute(_INSERT, (record.seq, record.attempts, n, *encode_event(event)))
            if spending is not None:
                cursor.execute(_SPEND, attrs.astuple(spending))

        await self._write(write)

    async def finish(
        self,
        job_id: str,
        state: Literal["done", "failed"],
        outcome: Mapping[str, Any],
        spending: Spending | None = None,
        *,
        no_reply: bool = False,
        changes: ChangeLog | None = None,
        earlier: Sequence[Event] = (),
        afterwards: Callable[[], None] | None = None,
    ) -> None:
        """Record a job's outcome, and what was spent besides; if it is done, in the place of its events.

        Args:
            no_reply: the job is done, and a message of it got no reply.
            changes: what the blocks of its conversation did to the notes.
            earlier: what it had come to before that conversation.
            afterwards: called when the outcome is durable, in the thread that wrote it; what it raises is raised here.
        """
        waits = self.waits.take(job_id)

        def write(cursor: sqlite3.Cursor) -> None:
            insert_waits(cursor, job_id, waits)
            if state == "done":
                cursor.execute("DELETE FROM events WHERE seq = (SELECT seq FROM jobs WHERE id = ?)", (job_id,))
            text = json.dumps(outcome)
            update = "UPDATE jobs SET state = ?, outcome = ?, no_reply = ? WHERE id = ?"
            cursor.execute(update, (state, text, no_reply, job_id))
            if changes or earlier:
                keep_changes(cursor, job_id, changes or ChangeLog(), earlier)
            if spending is not None:
                cursor.execute(_SPEND, attrs.astuple(spending))

        await self._write(write, afterwards)

    async def add_waits(self) -> None:
        """Record the waits of all jobs that are not recorded yet."""
        if not (waits := self.waits.take_all()):
            return

        def write(cursor: sqlite3.Cursor) -> None:
            for job_id, of_job in waits.items():
                insert_waits(cursor, job_id, of_job)

        await self._write(write)

    async def look_up(self, job_ids: Sequence[str]) -> list[KnownJob | None]:
        """What is known of each job, None for those never begun; for a few hundred at a time."""

        return await self._write(lambda cursor: known_jobs(cursor, job_ids))

    async def spend(self, spending: Spending) -> None:
        """Record spending that belongs to no single job."""

        def write(cursor: sqlite3.Cursor) -> None:
            cursor.execute(_SPEND, attrs.astuple(spending))

        await self._write(write)

    async def spent(self) -> Spending:
        """The cost of all answers recorded so far."""
        return await self._write(spent)

    async def counts(self) -> dict[str, int]:
        """The number of jobs in each state, and of those that are done without a reply ("no_reply")."""

        def read(cursor: sqlite3.Cursor) -> dict[str, int]:
            rows = cursor.execute("SELECT state, count(*), sum(no_reply) FROM jobs GROUP BY state").fetchall()
            return {state: count for state, count, _ in rows} | {"no_reply": sum(silent for *_, silent in rows)}

        return await self._write(read)

    async def has_outcomes(self) -> bool:
        """Whether the run has any result yet: an answer, or a job that ended."""
        return await self._write(has_outcomes)

    async def read_meta(self, key: str) -> Mapping[str, Any] | None:
        """The record of the run under this key."""
        return await self._write(lambda cursor: read_meta(cursor, key))

    async def write_meta(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Record values of the run, by key."""

        def write(cursor: sqlite3.Cursor) -> None:
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            cursor.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

        await self._write(write)

    async def _write(self, action: Callable[[sqlite3.Cursor], T], afterwards: Callable[[], None] | None = None) -> T:
        write = _Write(action, afterwards)
        self._waiting.append(write)
        try:
            async with self._lock:
                if not write.settled:  # else the previous holder of the lock wrote it for us
                    await self._write_group()
        except BaseException:
            if write in self._waiting:  # cancelled before any task began to write it
                self._waiting.remove(write)
            raise
        if write.error is not None:
            raise JournalError(str(self.path), write.error[0], _is_full(write.error[1])) from write.error[1]
        if write.error_afterwards is not None:
            raise write.error_afterwards
        result: T = write.result
        return result

    async def _write_group(self) -> None:
        """Write all that is waiting in one transaction, and report to each whether it was written."""
        group, self._waiting = self._waiting, []
        try:
            await trio.to_thread.run_sync(self._commit, group)
            while self.disk_wait is not None and (full := _disk_full(group)) is not None:
                for write in group:
                    write.error, write.settled = None, False
                if not await self.disk_wait.wait(str(self.path), full[0]):
                    self._fail(group, *full)
                    return
                group += self._waiting
                self._waiting = []
                await trio.to_thread.run_sync(self._commit, group)
            if self.disk_wait is not None:
                self.disk_wait.over()
        except Exception as error:  # noqa: BLE001 - no thread, no memory: whatever it was, nothing was written
            self._fail(group, f"{type(error).__name__}: {error}; nothing after the last checkpoint was recorded", error)
        except BaseException:  # cancelled or interrupted before the thread began: the others are still waiting
            self._waiting[:0] = group
            raise

    def _commit(self, group: list[_Write]) -> None:
        """Write a group in one transaction; if it fails, each of them gets the error. In a worker thread."""
        try:
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                for write in group:
                    write.result = write.action(cursor)
                cursor.execute("COMMIT")
            finally:
                cursor.close()
                if self._connection.in_transaction:  # SQLite itself rolls back when a disk is full or broken
                    self._connection.rollback()
        except sqlite3.Error as error:
            self._fail(group, f"{error}; nothing after the last checkpoint was recorded", error)
        except UNREADABLE as error:
            self._fail(group, f"a row cannot be read back: {error}", error)
        for write in group:
            write.settled = True
            if write.afterwards is not None and write.error is None:
                try:
                    write.afterwards()
                except Exception as error:  # noqa: BLE001 - raised where it was asked for: the others are written
                    write.error_afterwards = error

    def _fail(self, group: list[_Write], problem: str, error: Exception) -> None:
        for write in group:
            write.error, write.settled = (problem, error), True


def _is_full(error: Exception) -> bool:
    """Whether a disk or a quota is used up. SQLite reports a quota as an error of writing, without the reason."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) in _FULL


def _disk_full(group: Sequence[_Write]) -> tuple[str, Exception] | None:
    """The error of a group that was refused for lack of space."""
    return next((write.error for write in group if write.error is not None and _is_full(write.error[1])), None)


def known_jobs(cursor: sqlite3.Cursor, job_ids: Sequence[str]) -> list[KnownJob | None]:
    """What is known of each job, None for those never begun."""
    marks = ", ".join("?" * len(job_ids))
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    no_reply = "0" if version == _format1.VERSION else "no_reply"
    rows = cursor.execute(f"SELECT id, state, digest, {no_reply} FROM jobs WHERE id IN ({marks})", job_ids)
    found = {job_id: KnownJob(state, digest, bool(silent)) for job_id, state, digest, silent in rows}
    return [found.get(job_id) for job_id in job_ids]


def spent(cursor: sqlite3.Cursor, database: str = "main") -> Spending:
    """The cost of all answers recorded so far."""
    select = f"SELECT prompt_tokens, completion_tokens, cost FROM {database}.spent"
    prompt, completion, cost = cursor.execute(select).fetchone()
    return Spending(int(prompt), int(completion), float(cost))


def has_outcomes(cursor: sqlite3.Cursor) -> bool:
    """Whether the run has any result yet: an answer, or a job that ended."""
    select = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM jobs WHERE state != 'running')"
    (found,) = cursor.execute(select).fetchone()
    return bool(found)


def read_meta(cursor: sqlite3.Cursor, key: str, database: str = "main") -> Mapping[str, Any] | None:
    """The record of the run under this key."""
    row = cursor.execute(f"SELECT value FROM {database}.meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else read_object(row[0])


def read_object(text: str) -> Mapping[str, Any]:
    """The content of a row; ValueError, TypeError or RecursionError if it is damaged."""
    value = decode_in_thread(text)
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {text[:100]!r}")
    return value


def _readable(text: str) -> Mapping[str, Any]:
    """The content of a row; empty if it is damaged."""
    try:
        return read_object(text)
    except UNREADABLE:
        return {}


@attrs.define(eq=False)
class _Write:
    """A write that a task waits for: its action, and its result once it is settled."""

    action: Callable[[sqlite3.Cursor], Any]
    afterwards: Callable[[], None] | None = None
    result: Any = None
    error: tuple[str, Exception] | None = None
    settled: bool = False
    error_afterwards: Exception | None = None


@asynccontextmanager
async def open_journal(run_dir: Path, holds: str = BATCH) -> AsyncIterator[Journal]:
    """Open or create the journal of *run_dir*, exclusively: a second process is refused.

    Args:
        holds: the kind of its jobs, in the user's words. A run directory has one kind.

    Raises:
        JournalError: the directory or the file cannot be used, holds another kind, or another process runs this batch.
    """
    path = run_dir / FILE_NAME
    lock, connection, run_id = await trio.to_thread.run_sync(lock_and_connect, run_dir, path, holds)
    try:
        yield Journal(connection, path, run_id)
    finally:
        try:
            with trio.CancelScope(shield=True):  # bounded: SQLite closes its files, no network
                await trio.to_thread.run_sync(connection.close)
        finally:
            lock.release()


def lock_and_connect(run_dir: Path, path: Path, holds: str) -> tuple[RunLock, sqlite3.Connection, str]:
    """The run lock, the journal at *path*, and the run's own id; see `open_journal`. Synchronous."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = take_run_lock(run_dir)
    except OSError as error:
        problem = f"{error.strerror}; choose another run directory"
        raise JournalError(str(path), problem, _is_full(error)) from error
    if lock is None:
        raise JournalError(str(path), "another process is running this batch; wait for it, or stop it")
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            return lock, connection, prepare_journal(connection, path, holds)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        lock.release()
        raise JournalError(str(path), f"{error}; choose another run directory", _is_full(error)) from error
    except BaseException:
        lock.release()
        raise


def prepare_journal(connection: sqlite3.Connection, path: Path, holds: str) -> str:
    """Create the tables of a new journal, or check an existing one; returns the run's id. See `open_journal`."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in (*_SCHEMA.split(";"), _EVENTS):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('run_id', ?), ('holds', ?)", (uuid.uuid4().hex, holds))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    elif version not in READABLE:
        raise JournalError(str(path), UNKNOWN_FORMAT.format(version=version))
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if "run_id" not in meta:
        raise JournalError(str(path), "is damaged (it has lost the run's own id); use another run directory")
    if meta.get("holds", holds) != holds:  # one that says nothing is of a time before it was asked
        raise JournalError(str(path), f"holds {meta['holds']}, not {holds}; use another run directory")
    if version == _format1.VERSION:
        try:
            _format1.migrate(connection, path, _EVENTS, SCHEMA_VERSION)
        except (InvalidInputError, OSError) as error:
            problem = f"has format 1 and cannot be brought up to date: {error}; it is as it was"
            raise JournalError(str(path), problem) from error
    return str(meta["run_id"])
