"""What is kept of a job's attempts when their events go: what each block did to the notes, and what was said.

The events of a job go when it is done, for its outcome has the conversation, and when a job that ended begins again
from the start. What they tell besides is kept in a table of its own, compressed and bounded, a row an attempt: what
blocks changed, written with the outcome; and of an attempt that another one followed what was said in it, and why it
ended, written as that other one begins. The table is made with the first row: a job whose blocks changed nothing pays
nothing, a journal without the table is read as before, and earlier releases, which do not know it, leave it alone.

Contents are kept by their version, so that what a note was after one block and before the next is there once.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from .._errors import InvalidInputError
from .._json_steps import decode_in_thread
from .._wire import read_value, strict_converter
from ..tools import DEFAULT_RULES, AccessRules, Disk, Version, is_shown, version_of
from ._events import COLUMNS, Event, ResultEvent, decode_event, encode_event
from ._tables import has_table

MOST_BYTES = 256 * 1024
"""The most bytes of contents of one attempt, and the most characters of its messages; before compression."""
MOST_NOTES = 500
"""The most notes of one attempt that are named (a note that changed twice counts twice); the others are counted."""
MOST_NAMES = 64 * 1024
"""The most characters of their paths."""
MOST_ATTEMPTS = 10
"""The most attempts of one job; the latest are kept."""
UNKNOWN = ""
"""Instead of a version: the note existed, or it is not known."""

_MOST_BODY = 4 * 1024 * 1024  # of a row's characters; one that holds more is damaged
_ERROR_CHARS = 2_000
_DAMAGED = (ValueError, TypeError, RecursionError)
_LEVEL = 1  # within 10 % of the size that the default gives for notes that are edited, in half the time

_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    seq INTEGER NOT NULL, attempt INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (seq, attempt)
) WITHOUT ROWID
"""
_OF_NO_USE = frozenset({"read", "written", "images"})  # of a result, when what it changed is kept apart
_to_json = json.JSONEncoder(check_circular=False).encode
_converter = strict_converter()


@attrs.frozen
class ChangedNote:
    """What a block did to a note.

    Attributes:
        before, after: versions; None: no note; `UNKNOWN`.
    """

    path: str
    before: str | None
    after: str | None


@attrs.frozen
class ChangingBlock:
    """A block that changed notes.

    Attributes:
        answer: the number of the answer that it stood in, from 0, in its attempt.
        left_out: notes that it changed, and that are not named.
    """

    answer: int
    notes: Sequence[ChangedNote]
    left_out: int = 0


@attrs.frozen(kw_only=True)
class JournaledEvent:
    """An event of a job, the attempt that it belongs to, and its number in it."""

    attempt: int
    n: int
    event: Event


@attrs.frozen(kw_only=True)
class KeptAttempt:
    """What is kept of an attempt.

    Attributes:
        blocks: those that changed notes.
        contents: of notes, by version, as far as they are kept.
        events: of an attempt that another one followed, and in a run of personas the tries that were not accepted.
        messages: the conversation of an attempt that was done, and that another one followed; else none.
        error: why the attempt failed, if it did and another one followed.
        left_out: events and messages that are not kept.
    """

    attempt: int
    blocks: Sequence[ChangingBlock] = ()
    contents: Mapping[str, bytes] = attrs.field(factory=dict)
    events: Sequence[JournaledEvent] = ()
    messages: Sequence[Any] = ()
    error: Mapping[str, Any] | None = None
    left_out: int = 0


class ChangeLog:
    """Collects what the blocks of one attempt change, as they run or as a journal has them.

    Args:
        most_bytes: of contents that are kept.

    Attributes:
        rules: of notes that may not be read nothing is said.
        blocks: those that changed notes.
        contents: of notes, by version.
        unread: by path, the versions of notes whose contents are in the memory alone, if they still are.
    """

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self.rules: AccessRules = DEFAULT_RULES
        self._most_bytes = most_bytes
        self.blocks: list[ChangingBlock] = []
        self.contents: dict[str, bytes] = {}
        self.unread: dict[str, str] = {}
        self._seen: dict[str, Version | None] = {}  # of notes that earlier blocks read or wrote, where that matters
        self._bytes, self._notes, self._names = most_bytes, MOST_NOTES, MOST_NAMES

    def __bool__(self) -> bool:
        return bool(self.blocks)

    def clear(self) -> None:
        """Forget all of it, for another conversation."""
        self.blocks, self.contents, self.unread, self._seen = [], {}, {}, {}
        self._bytes, self._notes, self._names = self._most_bytes, MOST_NOTES, MOST_NAMES

    def add(self, answer: int, event: ResultEvent, written: Mapping[str, bytes] | None = None) -> None:
        """A block has ended.

        Args:
            answer: the number of the answer that it stood in.
            written: the contents of the notes that it wrote; None if they are not known any more.
        """
        if written is not None and not event.images:
            return  # whatever it wrote was there already
        after, notes, left_out = event.written or {}, list[ChangedNote](), 0
        paths = [path for path in (after if event.images is None else event.images) if not path.endswith("/")]
        for number, path in enumerate(paths):
            if len(notes) >= self._notes:
                left_out += len(paths) - number
                break
            before, now = self._before(path, event), after.get(path, UNKNOWN)
            if (before == now and now != UNKNOWN) or not is_shown(path, self.rules):
                continue
            if len(path) > self._names:
                left_out += 1
                continue
            self._names -= len(path)
            notes.append(ChangedNote(path, before, now))
            image = (event.images or {}).get(path)
            if image is not None and image.data is not None and before is not None:
                self._keep(before, image.data)
            self.unread.pop(path, None)
            if written is not None and path in written and now:
                self._keep(now, written[path])
            elif written is None and now and now not in self.contents:
                self.unread[path] = now
        if written is None:
            self._seen |= {**(event.read or {}), **after}
        if notes or left_out:
            self._notes -= len(notes)
            self.blocks.append(ChangingBlock(answer, notes, left_out))

    async def read_rest(self, memory: Path) -> None:
        """Read the contents that are still to be had; no checkpoint, if there are none."""
        self.unread = {path: version for path, version in self.unread.items() if version not in self.contents}
        if self.unread:
            await trio.to_thread.run_sync(self._read_rest, memory)

    def _before(self, path: str, event: ResultEvent) -> Version | None:
        """What a note was that a block changed."""
        if event.images is None:  # it had committed, and the process died before it was journaled: what it read tells
            read = event.read or {}
            return read[path] if path in read else self._seen.get(path, UNKNOWN)
        image = event.images[path]
        return UNKNOWN if image.lost else None if image.data is None else version_of(image.data)

    def _keep(self, version: str, data: bytes) -> None:
        if version not in self.contents and len(data) <= self._bytes:
            self._bytes -= len(data)
            self.contents[version] = data

    def _read_rest(self, memory: Path) -> None:
        limit = int(min(self._bytes, MOST_BYTES)) + 1
        for path, data in Disk(str(memory)).contents(self.unread, limit):
            version = self.unread[path]
            if version_of(data) == version:
                self._keep(version, data)
        self.unread.clear()


@attrs.frozen
class _StoredContent:
    text: str | None = None
    base64: str | None = None


@attrs.frozen(kw_only=True)
class _Stored:
    """A row."""

    blocks: Sequence[ChangingBlock] = ()
    contents: Mapping[str, _StoredContent] = attrs.field(factory=dict)
    events: Sequence[Sequence[Any]] = ()
    messages: Sequence[Any] = ()
    error: Mapping[str, Any] | None = None
    left_out: int = 0


def keep_changes(cursor: sqlite3.Cursor, job_id: str, changes: ChangeLog, earlier: Sequence[Event]) -> None:
    """Keep what the present attempt of a job changed, and what it had come to before the conversation that counts."""
    body = _changes(changes)
    if earlier:
        body |= _said([(n, *encode_event(event)) for n, event in enumerate(earlier)])
    if body:
        seq, attempt = cursor.execute("SELECT seq, attempts FROM jobs WHERE id = ?", (job_id,)).fetchone()
        _write(cursor, seq, attempt, body)


def keep_former(cursor: sqlite3.Cursor, seq: int, attempt: int, job_id: str, outcome: Mapping[str, Any]) -> None:
    """Keep what was said in an attempt that has ended, before its events and its outcome go."""
    rows = cursor.execute(
        f"SELECT n, {', '.join(COLUMNS)} FROM events WHERE seq = ? AND attempt = ? ORDER BY n", (seq, attempt)
    ).fetchall()
    body = _read_body(cursor, seq, attempt)
    if not body.get("blocks"):
        body |= _changes(_replayed(rows, job_id))
    if rows:
        body |= _said(rows)
    elif isinstance(messages := outcome.get("messages"), list):
        body |= _bounded("messages", messages, [len(_to_json(message)) for message in messages])
    if isinstance(error := outcome.get("error"), dict):
        words = {name: error.get(name) for name in ("type", "message")}
        body["error"] = {name: text[:_ERROR_CHARS] for name, text in words.items() if isinstance(text, str)}
    elif isinstance(reason := outcome.get("reason"), str) and "score" not in outcome:  # why a persona was rejected
        body["error"] = {"message": reason[:_ERROR_CHARS]}
    if body:
        _write(cursor, seq, attempt, body)
        cursor.execute("DELETE FROM kept WHERE seq = ? AND attempt <= ?", (seq, attempt - MOST_ATTEMPTS))


def has_kept(cursor: sqlite3.Cursor, database: str = "main") -> bool:
    """Whether anything is kept of any job."""
    return has_table(cursor, "kept", database)


def read_kept(cursor: sqlite3.Cursor, seq: int, job_id: str) -> list[KeptAttempt]:
    """What is kept of a job, by attempt.

    Raises:
        InvalidInputError: a row is damaged.
    """
    if not has_kept(cursor):
        return []
    rows = cursor.execute(
        "SELECT attempt, body FROM kept WHERE seq = ? ORDER BY attempt DESC LIMIT ?", (seq, MOST_ATTEMPTS + 1)
    ).fetchall()
    return [_kept(attempt, body, f"job {job_id!r}.kept[{attempt}]") for attempt, body in reversed(rows)]


def drop_kept(cursor: sqlite3.Cursor, seq: int) -> int:
    """Forget what is kept of a job; the rows that were."""
    return cursor.execute("DELETE FROM kept WHERE seq = ?", (seq,)).rowcount if has_kept(cursor) else 0


def copy_kept(cursor: sqlite3.Cursor, database: str, offset: int) -> None:
    """Copy what is kept in an attached journal, whose jobs get numbers that are larger by *offset*."""
    if has_kept(cursor, database):
        cursor.execute(_TABLE)
        cursor.execute(f"INSERT INTO kept SELECT seq + ?, attempt, body FROM {database}.kept", (offset,))


def _changes(changes: ChangeLog) -> dict[str, Any]:
    if not changes:
        return {}
    return {
        "blocks": [attrs.asdict(block) for block in changes.blocks],
        "contents": {version: _stored_content(data) for version, data in changes.contents.items()},
    }


def _stored_content(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _said(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """What events say, as their columns hold it, without what they changed."""
    kept = [
        [n, *(None if name in _OF_NO_USE else value for name, value in zip(COLUMNS, columns, strict=True))]
        for n, *columns in rows
    ]
    return _bounded("events", kept, [sum(len(value) for value in row if isinstance(value, str)) for row in kept])


def _bounded(name: str, values: Sequence[Any], sizes: Sequence[int]) -> dict[str, Any]:
    """As many of the first values as there is room for."""
    room, count = MOST_BYTES, 0
    for size in sizes:
        room -= size
        if room < 0:
            break
        count += 1
    return {name: values[:count], "left_out": len(values) - count}


def _replayed(rows: Iterable[Sequence[Any]], job_id: str) -> ChangeLog:
    """What the blocks of an attempt changed, as far as its events tell."""
    log, answers, kind = ChangeLog(), 0, 1 + COLUMNS.index("kind")
    for row in rows:
        if row[kind] == "result":
            event = decode_event(row[1:], f"job {job_id!r}.events[{row[0]}]")
            assert isinstance(event, ResultEvent)
            log.add(answers - 1, event)
        answers += row[kind] == "answer"
    return log


def _write(cursor: sqlite3.Cursor, seq: int, attempt: int, body: Mapping[str, Any]) -> None:
    cursor.execute(_TABLE)
    packed = zlib.compress(_to_json(body).encode("ascii"), _LEVEL)
    cursor.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (seq, attempt, packed))


def _read_body(cursor: sqlite3.Cursor, seq: int, attempt: int) -> dict[str, Any]:
    """What is kept of an attempt already; nothing if that is damaged."""
    if not has_kept(cursor):
        return {}
    row = cursor.execute("SELECT body FROM kept WHERE seq = ? AND attempt = ?", (seq, attempt)).fetchone()
    if row is None:
        return {}
    try:
        body = _unpacked(row[0])
        _of_body(attempt, body, "")
    except _DAMAGED:
        return {}
    return body


def _unpacked(packed: object) -> dict[str, Any]:
    """What a row holds; one of `_DAMAGED` if it is damaged."""
    if not isinstance(packed, bytes):
        raise TypeError(f"bytes were expected, not {packed!r:.60}")
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(packed, _MOST_BODY)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError("it is cut, or longer than any row is")
    body = decode_in_thread(text)
    if not isinstance(body, dict):
        raise ValueError(f"not an object: {body!r:.60}")
    return body


def _kept(attempt: int, packed: object, where: str) -> KeptAttempt:
    try:
        body = _unpacked(packed)
    except _DAMAGED as error:
        raise InvalidInputError(where, f"cannot be unpacked: {error}") from error
    return _of_body(attempt, body, where)


def _of_body(attempt: int, body: Mapping[str, Any], where: str) -> KeptAttempt:
    stored = read_value(_converter, body, _Stored, where)
    return KeptAttempt(
        attempt=attempt,
        blocks=stored.blocks,
        contents={version: _content(content, where) for version, content in stored.contents.items()},
        events=[_event(attempt, row, where) for row in stored.events],
        messages=stored.messages,
        error=stored.error,
        left_out=stored.left_out,
    )


def _content(stored: _StoredContent, where: str) -> bytes:
    try:
        if stored.base64 is not None:
            return base64.b64decode(stored.base64, validate=True)
        return (stored.text or "").encode()
    except ValueError as error:
        raise InvalidInputError(f"{where}.contents", str(error)) from error


def _event(attempt: int, row: Sequence[Any], where: str) -> JournaledEvent:
    if len(row) != 1 + len(COLUMNS) or not isinstance(row[0], int):
        raise InvalidInputError(f"{where}.events", f"has a row that is no event: {row!r:.60}")
    return JournaledEvent(attempt=attempt, n=row[0], event=decode_event(row[1:], f"{where}.events[{row[0]}]"))
