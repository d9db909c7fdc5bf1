"""Changing one note from outside, as one transaction, and only in the version that the caller has read."""

from __future__ import annotations

import attrs

from .._errors import InvalidInputError, MemoryConflictError, MemoryProtectedError
from ..memory import ChangeSet, CommitOrigin, Knowledge, Memory, access_rules, is_inside
from ..tools import read_problem, version_of
from ._request_error import RequestError

_BY_HAND = CommitOrigin(author="REST")


@attrs.frozen
class NewText:
    """The whole new text of a note."""

    text: str


@attrs.frozen
class Written:
    """What a write came to.

    Attributes:
        path: the note.
        version: its new one; null if it is gone.
        changed: false if it said this before.
    """

    path: str
    version: str | None
    changed: bool


async def write_note(memory: Memory, path: str, text: str, version: str | None) -> Written:
    """Make or replace a note.

    Args:
        version: the one that is to be replaced; None if there is to be no such note yet.

    Raises:
        RequestError: the note is in another version by now; nothing was changed.
        MemoryRejectedError, MemoryStorageError: see `Lease.commit`; nothing was changed.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("body.text", f"holds half a surrogate pair at {error.start}") from error
    return await _write(memory, path, data, version, _BY_HAND)


async def restore_note(memory: Memory, path: str, at: str, version: str | None) -> Written:
    """Make a note what it was at a revision; see `write_note`.

    Raises:
        RevisionNotFoundError: there is no such revision, or no such note at it.
        MemoryHistoryError: the history cannot be used.
    """
    content = await memory.show(path, at=at)
    origin = CommitOrigin(kind="restore", said=f"restored {path} from {content.revision[:10]}")
    return await _write(memory, path, content.data, version, origin)


async def _write(memory: Memory, path: str, data: bytes, version: str | None, origin: CommitOrigin) -> Written:
    changed = await _commit(memory, path, ChangeSet(writes={path: data}), version, origin)
    return Written(path, version_of(data), changed)


async def delete_note(memory: Memory, path: str, version: str | None) -> Written:
    """Delete a note; see `write_note`."""
    changed = await _commit(memory, path, ChangeSet(deletes=frozenset({path})), version, _BY_HAND)
    return Written(path, None, changed)


async def _commit(memory: Memory, path: str, changes: ChangeSet, version: str | None, origin: CommitOrigin) -> bool:
    if not is_inside(path):
        raise InvalidInputError("path", f"{path!r:.200} is not the path of a note")
    if problem := read_problem(path, access_rules(memory.policy)):
        raise MemoryProtectedError(path, problem)
    try:
        async with memory.lease() as lease:
            return await lease.commit(changes, knowledge=Knowledge(seen={path: version}), origin=origin)
    except MemoryConflictError as error:
        raise RequestError(
            412, "version_changed", str(error), "read the note again, and change what it says now"
        ) from None
