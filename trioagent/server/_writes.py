"""Changes one note for a client, in one transaction, if it still has the version that the client has read."""

from __future__ import annotations

import attrs

from .._errors import InvalidInputError, MemoryConflictError, MemoryProtectedError
from ..memory import ChangeSet, CommitOrigin, Knowledge, Memory, access_rules, is_inside
from ..tools import read_problem, version_of
from ._request_error import RequestError

_BY_HAND = CommitOrigin(author="REST")


@attrs.frozen
class NewText:
    """The new text of a note, whole."""

    text: str


@attrs.frozen
class Written:
    """The result of a write.

    Attributes:
        path: the note.
        version: its new version; null if it was deleted.
        changed: false if the note had this content before.
    """

    path: str
    version: str | None
    changed: bool


async def write_note(memory: Memory, path: str, text: str, version: str | None) -> Written:
    """Create or replace a note.

    Args:
        version: the version to replace; None if the note must not exist yet.

    Raises:
        RequestError: the note has another version; nothing was changed.
        MemoryRejectedError, MemoryStorageError: see `Lease.commit`; nothing was changed.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("body.text", f"contains a lone surrogate at {error.start}") from error
    return await _write(memory, path, data, version, _BY_HAND)


async def restore_note(memory: Memory, path: str, at: str, version: str | None) -> Written:
    """Restore a note from a revision; see `write_note`.

    Raises:
        RevisionNotFoundError: there is no such revision, or it has no such note.
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
            412, "version_changed", str(error), "read the note again, and change its present text"
        ) from None
