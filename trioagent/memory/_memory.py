"""The vault on the host: a folder of notes that blocks change in transactions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from .. import _span_names as names
from .._config import MemoryLimits, VaultPolicy
from .._errors import InvalidInputError, MemoryConflictError, MemoryStorageError
from .._tracing import add_event
from ..tools import DEFAULT_RULES, AccessRules
from ._changes import ChangeSet, NoteChange
from ._commit import NO_ORIGIN, LeasedMemory, Receipt, commit, count_if_empty, is_small, preview
from ._history import _reading
from ._history._git import Git
from ._history._history import History, check_note_path
from ._history._journal import JournalPlace
from ._history._reading import Selection
from ._history._revisions import (
    BlameLine,
    CommitOrigin,
    ForgottenNote,
    HistoryConfig,
    HistoryDiff,
    HistorySetting,
    HistoryUpdate,
    NoteContent,
    Revision,
    UndoneChanges,
    history_config,
)
from ._knowledge import NOTHING_SEEN, Knowledge, SeenNotes
from ._lease import RunState, exclusive, in_thread, run_inline_or_in_thread, run_state
from ._policy import access_rules
from ._receipts import drop_receipt, read_receipt
from ._recovery import check_clean, recover
from ._root import OUT_OF_RESOURCES, check_usable, checked_path, open_ready, open_root
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
        origin: CommitOrigin = NO_ORIGIN,
        by_block: bool = False,
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
            origin: who makes the commit and why, for the memory's history, if one is kept.
            by_block: a block's code made the changes: names that are new have to be such as the tools would give.

        Raises:
            MemoryRejectedError: refused, for a limit, a conflict or a protected note; nothing was changed.
            MemoryHistoryError: what lies in the place of the history is not ours; nothing was changed.
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
            origin=origin,
            by_block=by_block,
        )
        small = partial(is_small, self._leased, changes, reads, seen)
        try:
            changed = await run_inline_or_in_thread(self._leased.path, work, small=small)
        except MemoryConflictError as error:
            add_event(names.CONFLICT, {names.NOTES: len(error.paths)})
            raise
        self.hide = self.hide or receipt is not None
        if changed:
            add_event(names.COMMIT, {names.NOTES: len(changes.writes) + len(changes.deletes)})
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
        work = partial(preview, self._leased, changes, knowledge=knowledge, reads=tuple(reads), seen=seen)
        try:
            return await in_thread(work)
        except MemoryConflictError as error:
            add_event(names.CONFLICT, {names.NOTES: len(error.paths)})
            raise


class Memory:
    """A folder of notes. Making one touches no disk; the folder is made at the first lease.

    Args:
        path: the folder; it may not be a symbolic link.
        limits: what it may hold.
        sync: commits survive a power cut, not only the death of the process.
        policy: what blocks may read, and commits may change.
        history: keep every commit, so that it can be looked at and taken back: ``True`` for in the memory itself
            (``.trioagent/history``), or a folder elsewhere, or a `HistoryConfig`. What is there already can be read
            and used in any case, with the folder given here if it is elsewhere.

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
        history: HistorySetting = False,
    ) -> None:
        self.path: Path = checked_path(path)
        self.limits = limits
        self.sync = sync
        self.policy = policy
        self.history: HistoryConfig | None = history_config(history)

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
        state = run_state()
        async with exclusive(
            str(self.path),
            open_ready=partial(open_ready, self.path),
            begin_ready=partial(self._begin_ready, state),
            open_root=partial(open_root, self.path, create=True),
            begin=partial(self._begin, state),
        ) as lease:
            add_event(names.LEASE)
            yield lease

    async def check(self) -> None:
        """Find out whether blocks can work here, before it costs anything. Nothing is made.

        Raises:
            MemoryPathError: the folder cannot be used, or may not be written though the policy lets blocks write.
        """
        work = partial(check_usable, self.path, read_only=self.policy.read_only)
        await run_inline_or_in_thread(str(self.path), work, small=lambda: True)

    def _leased(self, state: RunState, root_fd: int) -> LeasedMemory:
        config = self.history
        place = None if config is None else JournalPlace(config.folder, config.keep_messages, state.journals)
        rules = access_rules(self.policy)
        return LeasedMemory(str(self.path), root_fd, state.sizes, self.limits, self.sync, rules, place)

    def _begin_ready(self, state: RunState, root_fd: int) -> Lease | None:
        leased = self._leased(state, root_fd)
        hide = check_clean(leased)
        return None if hide is None else Lease(leased, hide)

    def _begin(self, state: RunState, root_fd: int) -> Lease:
        leased = self._leased(state, root_fd)
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
            small = partial(is_small, lease._leased, ChangeSet())
            await run_inline_or_in_thread(lease._leased.path, work, small=small)

    async def roll_back(
        self, undo: UndoLog, *, knowledge: Knowledge | None = None, origin: CommitOrigin | None = None
    ) -> bool:
        """Take back all the commits in *undo* at one instant, and empty it; were any notes changed?

        Contents and folders come back; a note's time of change is new. *knowledge* is brought up to date. *origin* is
        for the history, by default that of the last of these commits.

        Raises:
            MemoryConflictError: somebody else has changed one of the notes since; nothing was changed.
            MemoryStorageError: see :meth:`Lease.commit`.
        """
        as_we_left_it = Knowledge(seen=undo.versions())
        async with self.lease() as lease:
            whose = undo.origin() if origin is None else origin
            changed = await lease.commit(undo.changes(), knowledge=as_we_left_it, origin=whose)
        undo.steps.clear()
        if knowledge is not None:
            for path, version in as_we_left_it.seen.items():
                knowledge.saw(path, version)
        return changed

    async def update_history(self) -> HistoryUpdate:
        """Fill the history's store with what was committed, and with what others changed, since the last time.

        Every method that reads the history does so first; done at times by itself, it leaves them little to do. It
        runs in threads and in ``git`` processes, and holds the lease for an instant only. Cancelling: nothing is lost;
        the next one goes on.

        Raises:
            MemoryPathError: there is no such memory.
            MemoryHistoryError: git is not installed, or something in the history is not ours.
            MemoryStorageError: the disk refused.
        """
        return await self._history().update()

    async def update_large_history(self) -> HistoryUpdate:
        """`update_history`, but only if commits of more than 16 MiB wait for it: for programs that never read it.

        Agents of a runtime, and a `NoteStore`, do so by themselves, never while a block runs. Raises as that does.
        """
        if self.history is None:
            await trio.lowlevel.checkpoint()
            return HistoryUpdate()
        return await self._history().update_if_large()

    async def log(
        self,
        path: str | None = None,
        *,
        limit: int = 100,
        before: str | None = None,
        chat: str | None = None,
        turn: int | None = None,
        job: str | None = None,
        batch: str | None = None,
    ) -> tuple[Revision, ...]:
        """The newest revisions, newest first; none where no history is kept.

        Args:
            path: only those that changed this note, or a note in this folder.
            limit: how many at most.
            before: only those before this revision: the id of the last one of a page, for the next page.
            chat, job, batch: only those of one conversation, job or batch.
            turn: only those of this message in each conversation, from 1.

        Raises:
            RevisionNotFoundError: there is no revision *before*.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        if path is not None:
            check_note_path(path)
        if type(limit) is not int or limit < 1:
            raise InvalidInputError("limit", f"must be a whole number above 0, not {limit!r:.200}")
        selection = Selection(chat=chat, turn=turn, job=job, batch=batch)
        nothing: tuple[Revision, ...] = ()
        return await self._history().read(lambda git: _reading.log(git, path, limit, before, selection), nothing)

    async def diff(self, path: str | None = None, *, since: str | None = None, at: str | None = None) -> HistoryDiff:
        """The difference between two revisions, of one note or of all.

        Args:
            path: the note, or a folder of notes.
            since: the older revision; None for the one before the other.
            at: the newer one; None for the newest, or the newest that changed *path* if *since* is not given either.

        Raises:
            RevisionNotFoundError: there is no such revision.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        if path is not None:
            check_note_path(path)
        return await self._history().read(lambda git: _reading.diff(git, path, since, at))

    async def show(self, path: str, *, at: str | None = None) -> NoteContent:
        """A note as it was at a revision, bit by bit.

        Args:
            path: the note.
            at: the first digits of a revision's id, at least 4; or a time in ISO format (local, if it names no zone),
                for the newest revision until then; None for the newest.

        Raises:
            RevisionNotFoundError: there is no such revision, or no such note at it.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        check_note_path(path)
        return await self._history().read(lambda git: _reading.show(git, path, at))

    async def blame(self, path: str, *, at: str | None = None) -> tuple[BlameLine, ...]:
        """Each line of a note, with the revision that it comes from. Arguments and errors are those of `show`."""
        check_note_path(path)
        return await self._history().read(lambda git: _reading.blame(git, path, at))

    async def restore(self, path: str, *, at: str) -> bool:
        """Make a note what it was at a revision, as a new commit; did that change it?

        Raises:
            MemoryRejectedError: the memory's policy or limits do not allow it.
            RevisionNotFoundError, MemoryPathError, MemoryHistoryError, MemoryStorageError: see `show`.
        """
        check_note_path(path)

        def read(git: Git) -> tuple[NoteContent, int | None]:
            return _reading.show(git, path, at), _reading.mode_before_deletion(git, path)

        content, mode = await self._history().read(read)
        changes = ChangeSet(writes={path: content.data}, modes={} if mode is None else {path: mode & 0o666})
        said = f"restored {path} from {content.revision[:10]}"
        async with self._with_history().lease() as lease:
            return await lease.commit(changes, origin=CommitOrigin(kind="restore", said=said))

    async def undo(
        self,
        *,
        chat: str | None = None,
        turn: int | None = None,
        job: str | None = None,
        batch: str | None = None,
    ) -> UndoneChanges:
        """Take back, as one new commit, every commit of one conversation, or of a message in it, of one job or batch.

        Args:
            chat: the conversation's id (`Agent.chat_id`).
            turn: the number of one message in it, from 1; None for all of them.
            job, batch: the job's or the batch's id.

        Raises:
            InvalidInputError: nothing is named, a turn without its chat, or the history has no commit of it.
            MemoryConflictError: names the notes that others have changed since, or in between; nothing was changed.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`; among others if what a note
                held before was not kept, or is forgotten.
        """
        selection = Selection(chat=chat, turn=turn, job=job, batch=batch)
        if chat is None and job is None and batch is None:
            raise InvalidInputError("undo", "name the chat, the job or the batch to take back")
        if turn is not None and chat is None:
            raise InvalidInputError("turn", f"{turn} is a message in a chat; name that, too")
        nothing = UndoLog(), 0
        undo, revisions = await self._history().read(lambda git: _reading.undo_of(git, selection), nothing)
        if not revisions:
            raise InvalidInputError("undo", f"the history of {str(self.path)!r} has no commit of {selection}")
        paths = tuple(sorted(undo.versions()))
        origin = selection.origin(said=f"undid {selection}")
        changed = await self._with_history().roll_back(undo, origin=origin)
        return UndoneChanges(revisions=revisions, paths=paths, changed=changed)

    async def forget(self, path: str) -> ForgottenNote:
        """Remove a note, or a folder of notes, from the history: what they held, and what was said when it changed.

        The note itself is not touched. What it holds now is kept again once it changes. Every later revision gets
        another id. What was copied or moved from it to other notes is theirs.

        Raises:
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        return await self._history().forget(path)

    def _history(self) -> History:
        return History(self.path, self.history or HistoryConfig(), access_rules(self.policy).suffixes, self.lease)

    def _with_history(self) -> Memory:
        """This memory, keeping what is committed: what is taken back is part of the history that it is taken from."""
        config = self.history or HistoryConfig()
        return Memory(self.path, limits=self.limits, sync=self.sync, policy=self.policy, history=config)
