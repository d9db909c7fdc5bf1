"""The rows of a journal as bytes: lengths and a checksum first, their own length last, so that the end locates the row.

A file begins with the sequence number of its first row.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import attrs

from ...tools import Version
from .. import _fsops
from .._paths import is_inside
from ._revisions import CommitOrigin

PREFIX = b"trioagent journal 1\n%018d\n"
PREFIX_BYTES = len(PREFIX % 0)
_HEAD, _TAIL = struct.Struct(">8sIQ16s"), struct.Struct(">Q8s")
_BEGIN, _END = b"\0triorow", b"rowend\n\0"
_MAX_HEADER = 64 * 1024 * 1024


@attrs.frozen
class RowChange:
    """One note in a row.

    Attributes:
        path: the note.
        before, after: versions; None for no note.
        mode: the permissions that it had before.
        base: its content before, None if that is not in the row.
        content: its content after, None if it is deleted.
    """

    path: str
    before: Version | None
    after: Version | None
    mode: int | None
    base: bytes | None
    content: bytes | None


@attrs.frozen(kw_only=True)
class CommitRow:
    """One commit.

    Attributes:
        id: 16 hexadecimal digits; the names of the commit's files in ``.trioagent`` have the first 8.
        time: seconds since 1970.
        origin: the author of the commit.
        changes: the notes.
        made, removed: folders, with the permissions of the removed ones.
        sequence: its number in the memory's history, from 1.
        void: for a row that corrects the one before it: the notes that were not changed after all.
    """

    id: str
    time: float
    origin: CommitOrigin = attrs.field(factory=CommitOrigin)
    changes: tuple[RowChange, ...] = ()
    made: tuple[str, ...] = ()
    removed: Mapping[str, int | None] = attrs.field(factory=dict)
    sequence: int = 0
    void: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        bodies: list[bytes] = []
        changes = []
        for change in self.changes:
            lengths = []
            for data in (change.base, change.content):
                lengths.append(-1 if data is None else len(data))
                bodies.append(data or b"")
            changes.append([change.path, change.before, change.after, change.mode, *lengths])
        fields = {
            "n": self.sequence,
            "id": self.id,
            "time": self.time,
            "origin": attrs.asdict(self.origin),
            "changes": changes,
            "made": self.made,
            "removed": self.removed,
            "void": self.void,
        }
        header, body = json.dumps(fields).encode(), b"".join(bodies)
        head = _HEAD.pack(_BEGIN, len(header), len(body), _digest(header, body))
        total = _HEAD.size + len(header) + len(body) + _TAIL.size
        return b"".join((head, header, body, _TAIL.pack(total, _END)))

    @classmethod
    def decode(cls, header: bytes, body: bytes) -> CommitRow:
        """Inverse of :meth:`encode`; ValueError if it is not a row."""
        try:
            fields = json.loads(header)
            changes, at = [], 0
            for path, before, after, mode, *lengths in fields["changes"]:
                if not isinstance(path, str) or not is_inside(path):
                    raise ValueError(f"{path!r} is not a path inside a memory")
                parts: list[bytes | None] = []
                for length in lengths:
                    parts.append(None if length < 0 else body[at : at + length])
                    at += max(length, 0)
                base, content = parts
                changes.append(RowChange(path, before, after, mode, base, content))
            if at != len(body):
                raise ValueError("its contents have another length")
            void = fields["void"]
            return cls(
                id=str(fields["id"]),
                time=float(fields["time"]),
                origin=CommitOrigin(**fields["origin"]),
                changes=tuple(changes),
                made=tuple(map(str, fields["made"])),
                removed=dict(fields["removed"]),
                sequence=int(fields["n"]),
                void=None if void is None else tuple(map(str, void)),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a row of a journal: {error!r}") from error


def _digest(header: bytes, body: bytes) -> bytes:
    digest = blake2b(header, digest_size=16)
    digest.update(body)
    return digest.digest()


def end_of_rows(fd: int, size: int) -> tuple[int, int]:
    """The sequence number of the last complete row, and its end; (0, 0) if the file has no complete beginning."""
    first = _first_sequence(fd)
    if first is None:
        return 0, 0
    start = start_of_last(fd, size)
    if start is not None:
        row, end = row_at(fd, start, size, whole=False)
        if row is not None and end == size:
            return row.sequence, size
    sequence, at = first - 1, PREFIX_BYTES
    while at < size:
        row, end = row_at(fd, at, size)
        if row is None:
            break
        sequence, at = row.sequence, end
    return sequence, at


def _first_sequence(fd: int) -> int | None:
    prefix = _fsops.read_at(fd, PREFIX_BYTES, 0)
    digits = prefix[-19:-1]
    if len(prefix) != PREFIX_BYTES or not digits.isdigit() or PREFIX % int(digits) != prefix:
        return None
    return int(digits)


def start_of_last(fd: int, size: int) -> int | None:
    if size < PREFIX_BYTES + _HEAD.size + _TAIL.size:
        return None
    length, end = _TAIL.unpack(_fsops.read_at(fd, _TAIL.size, size - _TAIL.size))
    start: int = size - length
    return start if end == _END and PREFIX_BYTES <= start <= size - _HEAD.size - _TAIL.size else None


def row_at(fd: int, at: int, size: int, *, whole: bool = True) -> tuple[CommitRow | None, int]:
    """The row that begins there and its end; None if there is no complete one.

    Args:
        whole: with its contents, whose checksum is verified; else without its notes.
    """
    head = _fsops.read_at(fd, _HEAD.size, at)
    if len(head) < _HEAD.size:
        return None, at
    begin, header_bytes, body_bytes, digest = _HEAD.unpack(head)
    end = at + _HEAD.size + header_bytes + body_bytes + _TAIL.size
    if begin != _BEGIN or header_bytes > _MAX_HEADER or end > size:
        return None, at
    header = _fsops.read_at(fd, header_bytes, at + _HEAD.size)
    try:
        if not whole:
            fields: dict[str, Any] = json.loads(header)
            return CommitRow(id=str(fields["id"]), time=0, sequence=int(fields["n"])), end
        body = _fsops.read_at(fd, body_bytes, at + _HEAD.size + header_bytes)
        if _digest(header, body) != digest:
            return None, at
        return CommitRow.decode(header, body), end
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, at


def next_begin(fd: int, at: int, size: int) -> int:
    """Where the next row may begin."""
    piece = 1024 * 1024
    while at < size:
        data = _fsops.read_at(fd, piece + len(_BEGIN), at)
        found = data.find(_BEGIN)
        if found >= 0:
            return at + found
        at += piece
    return size
