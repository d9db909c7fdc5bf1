"""A memory for programs that are not agents: each change is one commit, and names the version that it changes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs

from .._errors import InvalidInputError, MemoryHistoryError, MemoryStorageError, MemoryUnreadError
from ..tools import (
    MAX_HITS,
    NoResults,
    NoteText,
    ToolError,
    Version,
    edited,
    is_shown,
    is_text,
    read_problem,
    version_of,
)
from ._changes import ChangeSet
from ._commit import NO_ORIGIN
from ._history._revisions import CommitOrigin
from ._knowledge import Knowledge
from ._lease import in_thread
from ._memory import Lease, Memory
from ._policy import access_rules
from ._vault import Vault

T = TypeVar("T")
_log = logging.getLogger("trioagent")


@attrs.frozen(kw_only=True)
class StoredNote:
    """A note as it is, or after a change.

    Attributes:
        path: relative to the memory.
        version: of its content, to be passed when it is changed; None if it was deleted.
        text: as agents see it; "" if it was deleted.
        changed: whether the note has changed.
    """

    path: str
    version: Version | None
    text: str
    changed: bool = False


@attrs.frozen
class FoundLine:
    """A line that matches a query; *line* counts from 1."""

    path: str
    line: int
    text: str


class NoteStore:
    """The notes of one memory, within its policy.

    A change that names a version applies to that version only: if somebody else has changed the note since, it raises
    `MemoryConflictError`, and nothing is changed. Cancelling: a commit that has begun completes.

    Args:
        origin: who changes notes here and why, for the memory's history.

    All methods raise MemoryPathError for a folder that cannot be used. Changes also raise MemoryRejectedError (the
    policy, a limit, another's change) and MemoryStorageError, after which nothing is changed.
    """

    def __init__(self, memory: Memory, *, origin: CommitOrigin = NO_ORIGIN) -> None:
        self.memory: Memory = memory
        self.origin: CommitOrigin = origin
        self._rules = access_rules(memory.policy)

    def may_read(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether the policy shows a note of this path, or a folder may contain a note that it shows."""
        return not read_problem(path, self._rules, is_folder=is_folder)

    async def sizes(self) -> Mapping[str, int]:
        """The bytes of every file that may be read, by path, sorted."""
        return await self._look(lambda vault: vault.sizes())

    async def stamps(self) -> Mapping[str, tuple[int, int, int]]:
        """By path, the inode, size and modification time of every file, which tell whether it has changed."""
        return await self._look(lambda vault: vault.stamps())

    async def data(self, path: str) -> bytes:
        """The content of the file at *path* as bytes.

        Raises:
            InvalidInputError: there is no such file, or it cannot be read.
        """
        return (await self._look(partial(self._data, name=path)))[1]

    async def read(self, name: str) -> StoredNote:
        """A note, by its path or by the text of a link to it.

        Raises:
            InvalidInputError: there is no such note, or it is not a text.
        """

        def work(vault: Vault) -> StoredNote:
            path = self._existing(vault, name)
            data = vault.data(path)
            return StoredNote(path=path, version=version_of(data), text=_text(path, data))

        return await self._look(work)

    async def search(self, query: str, limit: int = 10) -> Sequence[FoundLine]:
        """The lines that match *query* best, best first.

        Raises:
            InvalidInputError: it has no words, or *limit* is not a number above 0.
        """

        def work(vault: Vault) -> list[FoundLine]:
            found = vault.tools.search(query, MAX_HITS if self._rules.readable else limit)
            if isinstance(found, NoResults):
                raise InvalidInputError("query", found.error.removeprefix("Error: "))
            return [line for hit in found if (line := _line(vault, hit)) is not None][:limit]

        return await self._look(work)

    async def backlinks(self, name: str) -> Sequence[str]:
        """The notes that link to a note, sorted.

        Raises:
            InvalidInputError: there is no such note.
        """
        return await self._look(lambda vault: self._backlinks(vault, self._existing(vault, name)))

    async def write(self, path: str, text: str, *, version: Version | None = None) -> StoredNote:
        """Make a note, or replace the *version* of it that is given. A new one gets ``.md`` if it has no suffix.

        Raises:
            InvalidInputError: the name is not allowed, or the text has a lone surrogate.
            MemoryUnreadError: the note exists, and no version is given.
        """
        data = _encoded(text)

        async def change(lease: Lease) -> StoredNote:
            place = await self._look(lambda vault: _good(vault.tools.place_of(path), "path"))
            if version is None and await self._look(lambda vault: vault.has(place)):
                raise MemoryUnreadError((place,))
            changed = await self._commit(lease, ChangeSet(writes={place: data}), {place: version})
            return StoredNote(path=place, version=version_of(data), text=NoteText(data).shown, changed=changed)

        return await self._change(change)

    async def edit(self, name: str, old: str, new: str, *, version: Version | None = None) -> StoredNote:
        """Replace *old*, which must be in the note exactly once, by *new*.

        Args:
            version: the version to change; None for the present one, as the old text identifies what is meant.

        Raises:
            InvalidInputError: there is no such note, or *old* does not occur exactly once.
        """

        async def change(lease: Lease) -> StoredNote:
            path, before = await self._look(partial(self._data, name=name))
            after = _good(edited(path, before, old, new), "old")
            seen = version_of(before) if version is None else version
            changed = await self._commit(lease, ChangeSet(writes={path: after}), {path: seen})
            return StoredNote(path=path, version=version_of(after), text=NoteText(after).shown, changed=changed)

        return await self._change(change)

    async def move(
        self, name: str, new_path: str, *, version: Version | None = None
    ) -> tuple[StoredNote, Sequence[str]]:
        """Move a note to a path where no note exists.

        Args:
            version: the version to move; None for the present one.

        Returns:
            The note, and the notes whose links led to it before.

        Raises:
            InvalidInputError: there is no such note, or the new name is not allowed.
            MemoryUnreadError: there is a note at *new_path*.
        """

        async def change(lease: Lease) -> tuple[StoredNote, Sequence[str]]:
            path, data = await self._look(partial(self._data, name=name))
            place = await self._look(lambda vault: _good(vault.tools.place_of(new_path), "new_path"))
            if await self._look(lambda vault: vault.has(place)):
                raise MemoryUnreadError((place,))
            links = await self._look(partial(self._backlinks, path=path))
            seen = version_of(data) if version is None else version
            changes = ChangeSet(writes={place: data}, deletes=frozenset({path}))
            changed = await self._commit(lease, changes, {path: seen, place: None})
            moved = StoredNote(path=place, version=version_of(data), text=NoteText(data).shown, changed=changed)
            return moved, links

        return await self._change(change)

    async def delete(self, name: str, *, version: Version | None = None) -> StoredNote:
        """Delete a note.

        Args:
            version: the version to delete; None for the present one.

        Raises:
            InvalidInputError: there is no such note.
        """

        async def change(lease: Lease) -> StoredNote:
            path, data = await self._look(partial(self._data, name=name))
            seen = version_of(data) if version is None else version
            changed = await self._commit(lease, ChangeSet(deletes=frozenset({path})), {path: seen})
            return StoredNote(path=path, version=None, text="", changed=changed)

        return await self._change(change)

    async def change(self, plan: Callable[[Vault], tuple[ChangeSet, Mapping[str, Version | None], T]]) -> T:
        """Make several changes atomically.

        Args:
            plan: called in a thread while nobody else changes the notes; returns the changes, the versions of the notes
                that they are based on, and the result of this method. If it raises, nothing changes.
        """

        async def make(lease: Lease) -> T:
            changes, seen, result = await self._look(plan)
            await self._commit(lease, changes, seen)
            return result

        return await self._change(make)

    async def look(self, work: Callable[[Vault], T]) -> T:
        """The result of *work*, which is called in a thread, while others may change the notes."""
        return await self._look(work)

    async def _change(self, work: Callable[[Lease], Awaitable[T]]) -> T:
        async with self.memory.lease() as lease:
            result = await work(lease)
        try:
            if self.memory.history is not None:
                await self.memory.update_large_history()
        except (MemoryHistoryError, MemoryStorageError) as error:  # the change stands; the next reader gets the error
            _log.warning("the commits of %s stay in its journal for now: %s", self.memory.path, error)
        return result

    async def _commit(self, lease: Lease, changes: ChangeSet, seen: Mapping[str, Version | None]) -> bool:
        return await lease.commit(changes, knowledge=Knowledge(seen=dict(seen)), origin=self.origin)

    async def _look(self, work: Callable[[Vault], T]) -> T:
        return await in_thread(lambda: work(Vault(self.memory.path, self._rules)))

    def _existing(self, vault: Vault, name: str) -> str:
        problem = read_problem(name, self._rules)
        if problem:
            raise InvalidInputError("note", f"{name!r:.300} is not shown: {problem}")
        return vault.note(name)

    def _data(self, vault: Vault, *, name: str) -> tuple[str, bytes]:
        path = self._existing(vault, name)
        return path, vault.data(path)

    def _backlinks(self, vault: Vault, path: str) -> list[str]:
        found = vault.tools.backlinks(path)
        return [] if isinstance(found, NoResults) else [source for source in found if is_shown(source, self._rules)]


def _good(result: T | ToolError, argument: str) -> T:
    if isinstance(result, ToolError):
        raise InvalidInputError(argument, result.removeprefix("Error: "))
    return result


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("text", f"holds a lone surrogate at {error.start}; leave it out") from error


def _text(path: str, data: bytes) -> str:
    if not is_text(path, data):
        raise InvalidInputError("note", f"{path!r} is an attachment of {len(data):,} bytes, which is not shown as text")
    return NoteText(data).shown


def _line(vault: Vault, hit: str) -> FoundLine | None:
    """A line of a search, whose path may contain something like a line number; None if it may not be read."""
    start = -1
    while (start := hit.find(":", start + 1)) >= 0:
        number, colon, text = hit[start + 1 :].partition(": ")
        if colon and number.isdecimal() and hit[:start] in vault.index:
            return FoundLine(hit[:start], int(number), text)
    return None
