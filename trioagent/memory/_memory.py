"""The vault on the host: a folder of notes that blocks change in transactions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs

from .._config import MemoryLimits, VaultPolicy
from .._errors import MemoryStorageError
from ..tools import DEFAULT_RULES, AccessRules
from ._changes import ChangeSet, NoteChange
from ._commit import LeasedMemory, Receipt, commit, count_if_empty, is_small, preview
from ._knowledge import NOTHING_SEEN, Knowledge, SeenNotes
from ._lease import exclusive, in_thread, run_inline_or_in_thread, run_state
from ._policy import access_rules
from ._receipts import drop_receipt, read_receipt
from ._recovery import check_clean, recover
from ._root import OUT_OF_RESOURCES, checked_path, open_ready, open_root
from ._sizes import SizesCache
from ._undo import UndoLog


class Lease:
    """The right to work on a memory, alone among all tasks and processes, until the ``async with`` ends.

    Attributes:
        root_fd: the memory's folder, read-only; a child that needs it is to be given a descriptor opened anew, as a
            duplicate of this one shares its lock.
        hide: ``.trioagent`` is there (it holds receipts), and blocks must not see it.
        unsettled: why an interrupted commit could be neither completed nor taken back; None as a rule. The notes can be
            read then, some of them with that commit's changes, and nothing can be saved.
    """

    def __init__(self, leased: LeasedMemory, hide: bool, unsettled: MemoryStorageError | None = None) -> None:
        self._leased = leased
        self.root_fd: int = leased.root_fd
        self.hide: bool = hide
        self.unsettled: MemoryStorageError | None = unsettled

    @property
    def rules(self) -> AccessRules:
        """What blocks may touch, by the memory's policy and `restrict`."""
        return DEFAULT_RULES if self._leased.rules is None else self._leased.rules

    def restrict(self, readable: tuple[str, ...]) -> None:
        """Until the lease ends, show only notes that these globs admit, too (see `VaultPolicy`)."""
        rules = self.rules
        self._leased = attrs.evolve(self._leased, rules=rules._replace(readable=(*rules.readable, readable)))

    async def commit(
        self,
        changes: ChangeSet,
        *,
        knowledge: Knowledge | None = None,
        reads: Iterable[str] = (),
        seen: SeenNotes = NOTHING_SEEN,
        receipt: Receipt | Callable[[SeenNotes], Receipt] | None = None,
        undo: UndoLog | None = None,
    ) -> bool:
        """Make all of *changes* at one instant; were any notes or folders changed?

        A write of what a note contains already is no change. Cancelling: a commit that has begun ends, all or nothing.
        An empty change set with *reads* only notes what was read.

        Args:
            changes: what the block did.
            knowledge: what the agent has seen, to refuse lost updates; brought up to date. None: overwrite anything.
            reads: notes that were read under this lease; the versions are those that they have now.
            seen: what a block saw, with the versions that it saw.
            receipt: written in the same instant, even if no note changes; or what makes it, in whatever thread, of all
                that the block saw.
            undo: collects how to take the commit back.

        Raises:
            MemoryRejectedError: refused, for a limit, a conflict or a protected note; nothing was changed.
            MemoryStorageError: the disk refused; nothing was changed, unless the error is *pending*.
        """
        if self.unsettled is not None and (changes or receipt is not None):
            raise self.unsettled
        reads = tuple(reads)
        work = partial(
            commit,
            self._leased,
            changes,
            knowledge=knowledge,
            reads=reads,
            seen=seen,
            receipt=receipt,
            undo=undo,
        )
        small = is_small(self._leased, changes, reads, seen)
        changed = await run_inline_or_in_thread(self._leased.path, work, small=small)
        self.hide = self.hide or receipt is not None
        return changed

    async def preview(
        self,
        changes: ChangeSet,
        *,
        knowledge: Knowledge | None = None,
        reads: Iterable[str] = (),
        seen: SeenNotes = NOTHING_SEEN,
    ) -> tuple[tuple[NoteChange, ...], SeenNotes]:
        """What `commit` would do to each note, without doing it; with what to give it as *seen* under another lease.

        Raises:
            MemoryRejectedError, MemoryStorageError: as `commit` would.
        """
        if self.unsettled is not None:
            raise self.unsettled
        return await in_thread(
            partial(preview, self._leased, changes, knowledge=knowledge, reads=tuple(reads), seen=seen)
        )


class Memory:
    """A folder of notes. Making one touches no disk; the folder is made at the first lease.

    Args:
        path: the folder; it may not be a symbolic link.
        limits: what it may hold.
        sync: commits survive a power cut, not only the death of the process.
        policy: what blocks may read, and commits may change.

    Raises:
        MemoryPathError: here for a path that cannot be one, at the lease for a folder that cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        limits: MemoryLimits = MemoryLimits(),
        sync: bool = False,
        policy: VaultPolicy = VaultPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self.path: Path = checked_path(path)
        self.limits = limits
        self.sync = sync
        self.policy = policy

    def __repr__(self) -> str:
        return f"Memory({str(self.path)!r})"

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """Wait for the memory to be free, settle a commit that a dead process left, and hold it.

        A memory that can only be read, or whose disk refuses to settle such a commit, can be held too: for reading
        (see :attr:`Lease.unsettled`).

        Raises:
            MemoryPathError: the folder cannot be used.
            MemoryStorageError: this process or machine is out of what it takes, such as file descriptors.
        """
        cache = run_state().sizes
        async with exclusive(
            str(self.path),
            open_ready=partial(open_ready, self.path),
            begin_ready=partial(self._begin_ready, cache),
            open_root=partial(open_root, self.path, create=True),
            begin=partial(self._begin, cache),
        ) as lease:
            yield lease

    def _leased(self, cache: SizesCache, root_fd: int) -> LeasedMemory:
        return LeasedMemory(str(self.path), root_fd, cache, self.limits, self.sync, access_rules(self.policy))

    def _begin_ready(self, cache: SizesCache, root_fd: int) -> Lease | None:
        leased = self._leased(cache, root_fd)
        hide = check_clean(leased)
        return None if hide is None else Lease(leased, hide)

    def _begin(self, cache: SizesCache, root_fd: int) -> Lease:
        leased = self._leased(cache, root_fd)
        try:
            hide = recover(leased)
        except MemoryStorageError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            return Lease(leased, hide=True, unsettled=error)
        count_if_empty(leased)
        return Lease(leased, hide)

    async def read_receipt(self, key: str) -> bytes | None:
        """The payload of the commit that was made with a receipt of this key; None if there was none."""
        async with self.lease() as lease:
            return await in_thread(partial(read_receipt, lease._leased, key))

    async def drop_receipt(self, key: str) -> None:
        """Forget a receipt; no error if there is none."""
        async with self.lease() as lease:
            work = partial(drop_receipt, lease._leased, key)
            small = is_small(lease._leased, ChangeSet())
            await run_inline_or_in_thread(lease._leased.path, work, small=small)

    async def roll_back(self, undo: UndoLog, *, knowledge: Knowledge | None = None) -> bool:
        """Take back all the commits in *undo* at one instant, and empty it; were any notes changed?

        Contents and folders come back; a note's time of change is new. *knowledge* is brought up to date.

        Raises:
            MemoryConflictError: somebody else has changed one of the notes since; nothing was changed.
            MemoryStorageError: see :meth:`Lease.commit`.
        """
        as_we_left_it = Knowledge(seen=undo.versions())
        async with self.lease() as lease:
            changed = await lease.commit(undo.changes(), knowledge=as_we_left_it)
        undo.steps.clear()
        if knowledge is not None:
            for path, version in as_we_left_it.seen.items():
                knowledge.saw(path, version)
        return changed
