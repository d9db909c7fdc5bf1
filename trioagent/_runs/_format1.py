"""Journals of trioagent 0.1 (format 1): the differences to format 2, and the migration.

Jobs, outcomes and spending are the same in both. An event of format 1 is one JSON object without the parsed step, so an
answer has to be parsed again, by today's parser. The result must be the same as then, which is checked by the recorded
repairs, and by whether a result follows. If not, the job begins again under today's rules, and is named.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from .._errors import InvalidInputError
from .._messages import Usage
from .._reply_parser import parse_reply
from .._wire import read_value, strict_converter
from ..memory import Knowledge
from ..sandbox import BlockResult
from ._events import COLUMNS, AnswerEvent, Event, ResultEvent, WorkEvent, encode_event

VERSION = 1
BACKUP = "journal-format1.db"
_log = logging.getLogger("trioagent")
_converter = strict_converter()


def migrate(connection: sqlite3.Connection, path: Path, events_schema: str, version: int) -> None:
    """Migrate a journal of format 1 to *version*, and keep the old one as `BACKUP` beside it. Under the run lock.

    Killed at any instant, it leaves a journal of either format, and can be run again.

    Raises:
        sqlite3.Error, OSError: the disk refused; the journal is unchanged.
        InvalidInputError: an event is damaged; the journal is unchanged.
    """
    _back_up(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        restarted = _convert(connection, events_schema)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    _log.warning(
        "%s was made by trioagent 0.1 and has been brought up to date; the old one is kept as %s", path, BACKUP
    )
    for job_id, why in restarted:
        _log.warning("job %r begins again from its start: %s", job_id, why)


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    temporary = path.with_name(f".{BACKUP}.tmp")
    temporary.unlink(missing_ok=True)
    target = sqlite3.connect(temporary)
    try:
        connection.backup(target)
    finally:
        target.close()
    os.replace(temporary, path.with_name(BACKUP))


def _convert(connection: sqlite3.Connection, events_schema: str) -> list[tuple[str, str]]:
    """Convert the events of running jobs; returns the jobs that begin again, and why."""
    connection.execute("ALTER TABLE jobs ADD COLUMN no_reply INTEGER NOT NULL DEFAULT 0")
    for seq, outcome in connection.execute("SELECT seq, outcome FROM jobs WHERE state = 'done'").fetchall():
        reasons = _object(outcome, f"job {seq}").get("stop_reasons", [])
        reasons = read_value(_converter, reasons, list[str], f"job {seq}.stop_reasons")
        if any(reason != "reply" for reason in reasons):
            connection.execute("UPDATE jobs SET no_reply = 1 WHERE seq = ?", (seq,))
    connection.execute("ALTER TABLE events RENAME TO events_of_format_1")
    connection.execute(events_schema)
    insert = f"INSERT INTO events VALUES (?, ?, ?, {', '.join('?' * len(COLUMNS))})"
    select = (
        "SELECT seq, id, attempts, body FROM events_of_format_1 JOIN jobs USING (seq) "
        "WHERE state = 'running' ORDER BY seq, n"
    )
    restarted = []
    for (seq, job_id, attempts), rows in groupby(connection.execute(select), lambda row: row[:3]):
        try:
            events = list(_events([body for *_, body in rows], f"job {job_id!r}"))
        except _ReadOtherwise as error:
            restarted.append((job_id, str(error)))
            connection.execute("UPDATE jobs SET attempts = attempts + 1 WHERE seq = ?", (seq,))
            continue
        connection.executemany(insert, ((seq, attempts, n, *encode_event(event)) for n, event in enumerate(events)))
    connection.execute("DROP TABLE events_of_format_1")
    return restarted


class _ReadOtherwise(Exception):
    """An answer would be parsed differently today."""


def _events(texts: Sequence[str], where: str) -> Iterator[Event]:
    bodies = [_object(text, f"{where}.events[{n}]") for n, text in enumerate(texts)]
    events = [_event(body, f"{where}.events[{n}]") for n, body in enumerate(bodies)]
    for event, following in pairwise([*events, None]):
        if isinstance(event, AnswerEvent) and isinstance(following, ResultEvent) and not event.answer.code:
            raise _ReadOtherwise("an answer whose code ran would not be read as code by this version")
    return iter(events)


def _event(body: dict[str, Any], where: str) -> Event:
    if "text" in body:
        answer = parse_reply(read_value(_converter, body["text"], str, f"{where}.text"))
        if answer.text != body["text"] or dict(answer.repairs) != body.get("repairs"):
            raise _ReadOtherwise("one of its answers would be read otherwise by this version")
        return AnswerEvent(answer=answer, usage=read_value(_converter, body.get("usage"), Usage, f"{where}.usage"))
    if "result" in body:
        result = read_value(_converter, body["result"], BlockResult, f"{where}.result")
        # Versions of 0.1 (inode, time, size) cannot be compared with today's; the absence of a note is kept.
        try:
            seen = Knowledge.from_json(body["knowledge"]).seen if "knowledge" in body else {}
        except ValueError as error:
            raise InvalidInputError(f"{where}.knowledge", str(error)) from error
        return ResultEvent(result=result, read={path: version for path, version in seen.items() if version is None})
    return WorkEvent(body)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(where, f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInputError(where, f"must be an object, not {body!r:.60}")
    return body
