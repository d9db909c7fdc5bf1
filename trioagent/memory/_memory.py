"""The vault on the host: a folder of notes that blocks change in transactions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
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
    """The exclusive right to work on a memory, among all tasks and processes, until the ``async with`` ends.

    Attributes:
        root_fd: the memory's folder, read-only; for a child, open a new descriptor, as a
            duplicate of this one shares its lock.
        hide: ``.trioagent`` exists (it holds receipts), and blocks must not see it.
        unsettled: why an interrupted commit could be neither completed nor rolled back; normally None. The notes can be
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
        """Until the lease ends, show only notes that these globs also admit (see `VaultPolicy`)."""
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
        """Commit all of *changes* atomically; returns whether any notes or folders changed.

        Writing a note's present content is not a change. Cancelling: a commit that has begun completes.
        An empty change set with *reads* only records what was read.

        Args:
            changes: the block's changes.
            knowledge: what the agent has seen, to refuse lost updates; updated. None: overwrite anything.
            reads: notes that were read under this lease, in their present versions.
            seen: what a block saw, with the versions that it saw.
            receipt: written in the same instant, even if no note changes; or a function that makes it, in any thread,
                from what the block saw.
            undo: collects the data to undo the commit.
            origin: who makes the commit and why, for the memory's history, if one is kept.
            by_block: a block's code made the changes: new names must be such as the tools would give.

        Raises:
            MemoryRejectedError: refused, because of a limit, a conflict or a protected note; nothing was changed.
            MemoryHistoryError: something in the place of the history is not ours; nothing was changed.
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
        """What `commit` would do to each note, without doing it; and the *seen* to pass to it under another lease.

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
    """A folder of notes. Constructing one does not touch the disk; the folder is created at the first lease.

    Args:
        path: the folder; it may not be a symbolic link.
        limits: its size limits.
        sync: commits survive a power cut, not only the death of the process.
        policy: what blocks may read, and commits may change.
        history: keep every commit, so that it can be viewed and undone: ``True`` for in the memory itself
            (``.trioagent/history``), or a folder elsewhere, or a `HistoryConfig`. An existing history can be read
            and used in any case, with its folder given here if it is elsewhere.

    Raises:
        MemoryPathError: here for a path that cannot be used, at the lease for a folder that cannot be used.
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

    def lease(self) -> AbstractAsyncContextManager[Lease]:
        """Wait for the memory to be free, recover a commit that a dead process left, and hold the lease.

        A read-only memory, or one whose disk refuses that recovery, can be held too: for reading
        (see :attr:`Lease.unsettled`).

        Raises:
            MemoryPathError: the folder cannot be used.
            MemoryStorageError: this process or machine has run out of a resource, such as file descriptors.
        """
        state = run_state()
        return exclusive(
            str(self.path),
            open_ready=partial(open_ready, self.path),
            begin_ready=partial(self._begin_ready, state),
            open_root=partial(open_root, self.path, create=True),
            begin=partial(self._begin, state),
        )

    async def check(self) -> None:
        """Check whether blocks can work here, before it costs anything. Nothing is created.

        Raises:
            MemoryPathError: the folder cannot be used, or is not writable though the policy lets blocks write.
        """
        state, path = run_state(), str(self.path)
        work = partial(check_usable, self.path, read_only=self.policy.read_only)
        is_local = await run_inline_or_in_thread(path, work, small=lambda: True)
        if is_local is not None:  # so that the first lease need not find that out
            state.note_file_system(path, is_local)

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
        """Remove a receipt; no error if there is none."""
        async with self.lease() as lease:
            work = partial(drop_receipt, lease._leased, key)
            small = partial(is_small, lease._leased, ChangeSet())
            await run_inline_or_in_thread(lease._leased.path, work, small=small)

    async def roll_back(
        self, undo: UndoLog, *, knowledge: Knowledge | None = None, origin: CommitOrigin | None = None
    ) -> bool:
        """Undo all the commits in *undo* atomically, and empty it; returns whether any notes changed.

        Contents and folders are restored; a note gets a new modification time. *knowledge* is updated. *origin* is
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
        """Fill the history's store with new commits, and with others' changes, since the last time.

        Every method that reads the history does so first; calling it from time to time leaves them little to do. It
        runs in threads and in ``git`` processes, and holds the lease for an instant only. Cancelling: nothing is lost;
        the next call continues.

        Raises:
            MemoryPathError: there is no such memory.
            MemoryHistoryError: git is not installed, or something in the history is not ours.
            MemoryStorageError: the disk refused.
        """
        return await self._history().update()

    async def update_large_history(self) -> HistoryUpdate:
        """`update_history`, but only if commits of more than 16 MiB are waiting: for programs that never read it.

        Agents of a runtime, and a `NoteStore`, do so automatically, never while a block runs. Raises like that method.
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
        """The newest revisions, newest first; none if no history is kept.

        Args:
            path: only those that changed this note, or a note in this folder.
            limit: how many at most.
            before: only those before this revision: for the next page, the id of the last one of a page.
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
        """A note as it was in a revision, as exact bytes.

        Args:
            path: the note.
            at: the first digits of a revision's id, at least 4; or a time in ISO format (local, if it names no zone),
                for the newest revision until then; None for the newest.

        Raises:
            RevisionNotFoundError: there is no such revision, or the note does not exist in it.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        check_note_path(path)
        return await self._history().read(lambda git: _reading.show(git, path, at))

    async def blame(self, path: str, *, at: str | None = None) -> tuple[BlameLine, ...]:
        """Each line of a note, with the revision that last changed it. Arguments and errors are those of `show`."""
        check_note_path(path)
        return await self._history().read(lambda git: _reading.blame(git, path, at))

    async def restore(self, path: str, *, at: str) -> bool:
        """Restore a note to a revision, as a new commit; returns whether that changed it.

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
        """Undo, as one new commit, every commit of one conversation, or of a message in it, of one job or batch.

        Args:
            chat: the conversation's id (`Agent.chat_id`).
            turn: the number of one message in it, from 1; None for all of them.
            job, batch: the job's or the batch's id.

        Raises:
            InvalidInputError: nothing is named, a turn without its chat, or the history has no such commit.
            MemoryConflictError: names the notes that others have changed since, or in between; nothing was changed.
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`; also if an earlier content
                of a note was not kept, or is forgotten.
        """
        selection = Selection(chat=chat, turn=turn, job=job, batch=batch)
        if chat is None and job is None and batch is None:
            raise InvalidInputError("undo", "name the chat, the job or the batch to undo")
        if turn is not None and chat is None:
            raise InvalidInputError("turn", f"{turn} is a message in a chat; name the chat, too")
        nothing = UndoLog(), 0
        undo, revisions = await self._history().read(lambda git: _reading.undo_of(git, selection), nothing)
        if not revisions:
            raise InvalidInputError("undo", f"the history of {str(self.path)!r} has no commit of {selection}")
        paths = tuple(sorted(undo.versions()))
        origin = selection.origin(said=f"undid {selection}")
        changed = await self._with_history().roll_back(undo, origin=origin)
        return UndoneChanges(revisions=revisions, paths=paths, changed=changed)

    async def forget(self, path: str) -> ForgottenNote:
        """Remove a note, or a folder of notes, from the history: its past contents, and the messages that led to them.

        The note itself is not touched. Its present content is recorded again when it changes. Every later revision gets
        another id. Text that was copied or moved from it to other notes is not affected.

        Raises:
            MemoryPathError, MemoryHistoryError, MemoryStorageError: see `update_history`.
        """
        return await self._history().forget(path)

    def _history(self) -> History:
        return History(self.path, self.history or HistoryConfig(), access_rules(self.policy).suffixes, self.lease)

    def _with_history(self) -> Memory:
        """This memory with a history: an undo is recorded in the history that it undoes."""
        config = self.history or HistoryConfig()
        return Memory(self.path, limits=self.limits, sync=self.sync, policy=self.policy, history=config)
