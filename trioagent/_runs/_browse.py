"""A run's jobs for readers: by page, by cause, one by one. Read-only.

A page costs about the same in any run: rows are counted in indexes, and only those of the page are read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from .._errors import InvalidInputError
from . import _format1
from ._events import COLUMNS, decode_event
from ._journal import SCHEMA_VERSION, JobState
from ._kept import JournaledEvent, KeptAttempt, read_kept
from ._reader import JournalReader
from ._report import FailureCause
from ._waits import JobWait, read_waits

MOST_ROWS = 500
MOST_EVENTS = 2_000
MOST_WAITS = 1_000
"""The most waits of one job that are read."""
Filter = Literal["", "running", "done", "failed", "no_reply", "wrong"]

# An error's type, with a server's status: the key by which a run counts causes, too (`BatchReport.causes`).
_CAUSE = (
    "CASE WHEN json_valid(outcome) THEN coalesce(json_extract(outcome, '$.error.type'), '') "
    "|| coalesce(' ' || json_extract(outcome, '$.error.fields.status'), '') ELSE '' END"
)
_MESSAGE = "CASE WHEN json_valid(outcome) THEN substr(json_extract(outcome, '$.error.message'), 1, 300) END"
_SCORE = "CASE WHEN json_valid(outcome) THEN json_extract(outcome, '$.score') END"
_REASON = "CASE WHEN json_valid(outcome) THEN substr(json_extract(outcome, '$.reason'), 1, 300) END"
_RIGHT = 0.5  # the lowest score of a right answer
_NUMBERS = (
    "CASE WHEN json_valid(outcome) THEN coalesce(json_extract(outcome, '$.usage.prompt_tokens'), 0) "
    "+ coalesce(json_extract(outcome, '$.usage.completion_tokens'), 0) END, "
    "CASE WHEN json_valid(outcome) THEN json_extract(outcome, '$.turns') END"
)


@attrs.frozen(kw_only=True)
class JobRow:
    """A job in a list.

    Attributes:
        cause: of a failed job: the error's type, with a server's status.
        message: of a failed job: the error's message, cut.
        tokens, turns: of a job that is done, if its outcome has them.
        score: of a graded sample of an evaluation, from 0 to 1; else None.
        reason: the reason for the grade, cut.
    """

    id: str
    state: JobState
    attempts: int
    no_reply: bool
    cause: str
    message: str
    tokens: int | None
    turns: int | None
    score: float | None = None
    reason: str = ""


@attrs.frozen
class JobPage:
    """A page of the jobs that match a filter, in the order in which they began, and the number of all matches."""

    total: int
    rows: Sequence[JobRow]


@attrs.frozen(kw_only=True)
class JobDetails:
    """Everything that a journal has of one job.

    Attributes:
        outcome: None while it runs.
        events: of the present attempt, and of earlier ones that are kept; none for a job that is done.
        waits: of all attempts.
        kept: what is kept of attempts without their events.
        left_out: events beyond `MOST_EVENTS`, and waits beyond `MOST_WAITS`.
    """

    id: str
    state: JobState
    attempts: int
    no_reply: bool
    outcome: Mapping[str, Any] | None
    events: Sequence[JournaledEvent]
    waits: Sequence[JobWait]
    left_out: int
    kept: Sequence[KeptAttempt] = ()


class RunBrowser(JournalReader):
    """Reads a run's jobs, also while it runs. Synchronous; for use in a worker thread."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
        # A model may send a lone surrogate, which SQLite extracts from JSON unchanged.
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")

    def page(
        self, state: Filter = "", cause: str = "", contains: str = "", offset: int = 0, limit: int = 100
    ) -> JobPage:
        """Jobs by number of row.

        Args:
            state: only jobs in this state; "no_reply": jobs that are done and left a message without a reply; "wrong":
                samples of an evaluation with a score below one half.
            cause: only jobs that failed for this cause (see `JobRow.cause`).
            contains: only jobs whose id contains this text.
            offset: of the first row.
            limit: the most rows; at most `MOST_ROWS`.
        """
        where, values = self._where(state, cause, contains)
        limit = min(limit, MOST_ROWS)

        def read(cursor: sqlite3.Cursor) -> JobPage:
            (total,) = cursor.execute(f"SELECT count(*) FROM jobs{where}", values).fetchone()
            # "+seq" makes SQLite use the index on states or ids: rows are large, so not all of them should be read.
            numbers = [
                seq
                for (seq,) in cursor.execute(
                    f"SELECT seq FROM jobs{where} ORDER BY +seq LIMIT ? OFFSET ?", (*values, limit, offset)
                )
            ]
            marks = ", ".join("?" * len(numbers))
            select = (
                f"SELECT id, state, attempts, {self._no_reply}, {_CAUSE}, {_MESSAGE}, {_NUMBERS}, {_SCORE}, {_REASON} "
                f"FROM jobs WHERE seq IN ({marks}) ORDER BY seq"
            )
            return JobPage(total, [_job_row(row) for row in cursor.execute(select, numbers)])

        return self._read(read)

    def causes(self) -> list[FailureCause]:
        """Why jobs failed, the most frequent cause first, each with its first job."""

        def read(cursor: sqlite3.Cursor) -> list[FailureCause]:
            rows = cursor.execute(
                f"SELECT {_CAUSE} AS cause, count(*), min(seq) FROM jobs WHERE state = 'failed' "
                "GROUP BY cause ORDER BY 2 DESC, 3"
            ).fetchall()
            found = []
            for cause, count, seq in rows:
                (example, message) = cursor.execute(f"SELECT id, {_MESSAGE} FROM jobs WHERE seq = ?", (seq,)).fetchone()
                found.append(FailureCause(cause=cause, count=count, example=example, message=message or ""))
            return found

        return self._read(read)

    def job(self, job_id: str) -> JobDetails:
        """What the journal has of one job.

        Raises:
            InvalidInputError: the run has not begun such a job.
            JournalError: a row of it is damaged.
        """
        self._read(lambda cursor: cursor.execute("BEGIN"))  # one consistent snapshot, since the job may end meanwhile
        try:
            return self._job(job_id)
        finally:
            self._connection.rollback()

    def _job(self, job_id: str) -> JobDetails:
        row = self._read(
            lambda cursor: cursor.execute(
                f"SELECT seq, state, attempts, {self._no_reply}, outcome FROM jobs WHERE id = ?", (job_id,)
            ).fetchone()
        )
        if row is None:
            raise InvalidInputError("job", f"there is no job {job_id!r:.200} in this run; it may not have begun yet")
        seq, state, attempts, silent, outcome = row
        events, left_out = self._events(seq, job_id)
        waits, more = self._read(lambda cursor: read_waits(cursor, job_id, MOST_WAITS))
        kept = self._read(lambda cursor: read_kept(cursor, seq, job_id))
        return JobDetails(
            id=job_id,
            state=state,
            attempts=attempts,
            no_reply=bool(silent),
            outcome=None if outcome is None else self._outcome(job_id, outcome),
            events=events,
            waits=waits,
            left_out=left_out + more,
            kept=kept,
        )

    def _events(self, seq: int, job_id: str) -> tuple[list[JournaledEvent], int]:
        if self.version != SCHEMA_VERSION:  # events of format 1 can be read when a run has migrated the journal
            return [], 0

        def read(cursor: sqlite3.Cursor) -> tuple[list[JournaledEvent], int]:
            select = f"SELECT attempt, n, {', '.join(COLUMNS)} FROM events WHERE seq = ? ORDER BY attempt, n LIMIT ?"
            events = [
                JournaledEvent(attempt=attempt, n=n, event=decode_event(row, f"job {job_id!r}.events[{index}]"))
                for index, (attempt, n, *row) in enumerate(cursor.execute(select, (seq, MOST_EVENTS)))
            ]
            (total,) = cursor.execute("SELECT count(*) FROM events WHERE seq = ?", (seq,)).fetchone()
            return events, total - len(events)

        return self._read(read)

    @property
    def _no_reply(self) -> str:
        return "0" if self.version == _format1.VERSION else "no_reply"

    def _where(self, state: Filter, cause: str, contains: str) -> tuple[str, list[object]]:
        parts: list[str] = []
        values: list[object] = []
        if state == "no_reply":
            parts.append(f"state = 'done' AND {self._no_reply} = 1")
        elif state == "wrong":
            parts.append(f"state = 'done' AND {_SCORE} < {_RIGHT}")
        elif state:
            parts.append("state = ?")
            values.append(state)
        if cause:
            parts.append(f"state = 'failed' AND {_CAUSE} = ?")
            values.append(cause)
        if contains:
            parts.append("instr(id, ?)")
            values.append(contains)
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def _job_row(row: Sequence[Any]) -> JobRow:
    job_id, state, attempts, silent, cause, message, tokens, turns, score, reason = row
    failed, done = state == "failed", state == "done"
    return JobRow(
        id=job_id,
        state=state,
        attempts=attempts,
        no_reply=bool(silent),
        cause=cause if failed else "",
        message=(message or "") if failed else "",
        tokens=tokens if done and isinstance(tokens, int) else None,
        turns=turns if done and isinstance(turns, int) else None,
        score=float(score) if done and isinstance(score, int | float) else None,
        reason=reason if done and isinstance(score, int | float) and isinstance(reason, str) else "",
    )
