"""A memory for programs that are no agents: each change is one commit, and names the version that it changes."""

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
    """A note as it is, or as a change has made it.

    Attributes:
        path: relative to the memory.
        version: of its content, to be named when it is changed; None if it is gone.
        text: as agents see it; "" if it is gone.
        changed: whether a change made a difference.
    """

    path: str
    version: Version | None
    text: str
    changed: bool = False


@attrs.frozen
class FoundLine:
    """A line that fits a query; *line* counts from 1."""

    path: str
    line: int
    text: str


class NoteStore:
    """The notes of one memory, within its policy.

    A change that names a version changes no other: if somebody else was quicker, it raises `MemoryConflictError`, and
    nothing is changed. Cancelling: a commit that has begun ends, all or nothing.

    Args:
        origin: who changes notes here and why, for the memory's history.

    All methods raise MemoryPathError for a folder that cannot be used, changes also MemoryRejectedError (the policy,
    a limit, another's change) and MemoryStorageError, after which nothing is changed.
    """

    def __init__(self, memory: Memory, *, origin: CommitOrigin = NO_ORIGIN) -> None:
        self.memory: Memory = memory
        self.origin: CommitOrigin = origin
        self._rules = access_rules(memory.policy)

    def may_read(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether the policy shows a note of this path, or lets a folder hold one that it shows."""
        return not read_problem(path, self._rules, is_folder=is_folder)

    async def sizes(self) -> Mapping[str, int]:
        """The bytes of every file that may be read, by path, sorted."""
        return await self._look(lambda vault: vault.sizes())

    async def stamps(self) -> Mapping[str, tuple[int, int, int]]:
        """What tells whether a file has changed, by path: its inode, size and time of change."""
        return await self._look(lambda vault: vault.stamps())

    async def data(self, path: str) -> bytes:
        """The content of the file at *path*, bit by bit.

        Raises:
            InvalidInputError: there is no such file, or it cannot be read.
        """
        return (await self._look(partial(self._data, name=path)))[1]

    async def read(self, name: str) -> StoredNote:
        """A note, by its path or by what a link to it says.

        Raises:
            InvalidInputError: there is no such note, or it is no text.
        """

        def work(vault: Vault) -> StoredNote:
            path = self._existing(vault, name)
            data = vault.data(path)
            return StoredNote(path=path, version=version_of(data), text=_text(path, data))

        return await self._look(work)

    async def search(self, query: str, limit: int = 10) -> Sequence[FoundLine]:
        """The lines that fit *query* best, best first.

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
            InvalidInputError: a note cannot be called so, or the text has half a surrogate pair.
            MemoryUnreadError: there is such a note, and no version is given.
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
            version: the only one that is changed; None for whatever it is now, as the old text says what is meant.

        Raises:
            InvalidInputError: there is no such note, or *old* is not in it once.
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
        """Give a note another path, where no note is yet.

        Args:
            version: the only one that is moved; None for whatever it is now.

        Returns:
            The note, and the notes whose links led to it before.

        Raises:
            InvalidInputError: there is no such note, or a note cannot be called so.
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
            version: the only one that is deleted; None for whatever it is now.

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
        """Make several changes at one instant.

        Args:
            plan: called in a thread while nobody else changes the notes; returns the changes, the versions of the notes
                that they are made of, and what this method is to return. What it raises comes out, and nothing changes.
        """

        async def make(lease: Lease) -> T:
            changes, seen, result = await self._look(plan)
            await self._commit(lease, changes, seen)
            return result

        return await self._change(make)

    async def look(self, work: Callable[[Vault], T]) -> T:
        """What *work* finds in the notes; it is called in a thread, while others may change them."""
        return await self._look(work)

    async def _change(self, work: Callable[[Lease], Awaitable[T]]) -> T:
        async with self.memory.lease() as lease:
            result = await work(lease)
        try:
            if self.memory.history is not None:
                await self.memory.update_large_history()
        except (MemoryHistoryError, MemoryStorageError) as error:  # the change stands, and whoever reads it is told
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
        raise InvalidInputError("text", f"holds half a surrogate pair at {error.start}; leave it out") from error


def _text(path: str, data: bytes) -> str:
    if not is_text(path, data):
        raise InvalidInputError("note", f"{path!r} is an attachment of {len(data):,} bytes, which is not shown as text")
    return NoteText(data).shown


def _line(vault: Vault, hit: str) -> FoundLine | None:
    """A line of a search, whose path may hold what looks like a line number; None if it may not be read."""
    start = -1
    while (start := hit.find(":", start + 1)) >= 0:
        number, colon, text = hit[start + 1 :].partition(": ")
        if colon and number.isdecimal() and hit[:start] in vault.index:
            return FoundLine(hit[:start], int(number), text)
    return None
