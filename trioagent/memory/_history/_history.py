"""A memory's history behind its lock: it is updated before it is read, by one task of one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from ..._errors import InvalidInputError, MemoryHistoryError, MemoryStorageError, RevisionNotFoundError
from ...tools import RESERVED
from .. import _fsops
from .._lease import in_thread, run_state
from .._paths import is_inside
from .._root import OUT_OF_RESOURCES, open_root
from . import _store
from ._filling import OpenHistory, look, put
from ._git import Git, open_git
from ._journal import FOLDER, check_owner, close_journal, journal_bytes
from ._revisions import ForgottenNote, HistoryConfig, HistoryUpdate

LARGE_JOURNAL = 16 * 1024 * 1024
"""Bytes above which a journal is filled without a reader."""

_MOST_LOOKS = 3  # scans of notes that agents change meanwhile
_POLL_FIRST, _POLL_LAST = 0.002, 0.05  # s
_CANNOT_WRITE = {errno.EROFS, errno.EACCES, errno.EPERM}

T = TypeVar("T")


class _Lease(Protocol):
    """The part of a lease that is used here."""

    unsettled: MemoryStorageError | None


class History:
    """The history of one memory.

    Args:
        path: the memory.
        config: of its history.
        suffixes: of the files that are kept besides those that commits change.
        lease: acquires the memory's lease.
    """

    def __init__(
        self,
        path: Path,
        config: HistoryConfig,
        suffixes: Collection[str],
        lease: Callable[[], AbstractAsyncContextManager[_Lease]],
    ) -> None:
        self._path, self._config, self._suffixes, self._lease = path, config, suffixes, lease

    async def update(self) -> HistoryUpdate:
        """Add new commits to the store; see `Memory.update_history`."""
        async with self._locked() as opened:
            return HistoryUpdate() if opened is None else await self._fill(opened)

    async def update_if_large(self) -> HistoryUpdate:
        """The same, but only if the journal is large."""
        if await self._in_thread(self._journal_bytes) <= LARGE_JOURNAL:
            return HistoryUpdate()
        return await self.update()

    def _journal_bytes(self) -> int:
        root_fd = open_root(self._path, create=False)
        try:
            history_fd = _open_history(self._path, self._config.folder, root_fd)
        finally:
            os.close(root_fd)
        if history_fd is None:
            return 0
        try:
            return journal_bytes(history_fd)
        finally:
            os.close(history_fd)

    async def read(self, function: Callable[[Git], T], default: T | None = None) -> T:
        """The result of *function*, which reads the updated store; *default*, if given, if there is no store yet.

        Cancelling: git is killed, and nothing has changed.
        """
        async with self._locked() as opened:
            if opened is not None:
                await self._fill(opened)
                if opened.store.is_dir():
                    return await self._in_thread(partial(self._with_git, opened, function))
        if default is None:
            raise RevisionNotFoundError(str(self._path), "newest")
        return default

    async def forget(self, path: str) -> ForgottenNote:
        """See `Memory.forget`."""
        check_note_path(path)
        async with self._locked() as opened:
            if opened is None:
                return ForgottenNote(path=path, paths=(), revisions=0)
            await self._fill(opened)
            return await self._in_thread(partial(self._forget, opened, path))

    def _forget(self, opened: OpenHistory, path: str) -> ForgottenNote:
        if not opened.store.is_dir():
            return ForgottenNote(path=path, paths=(), revisions=0)
        with open_git(str(self._path), opened.store, trio.from_thread.check_cancelled) as git:
            if not git.head():
                return ForgottenNote(path=path, paths=(), revisions=0)
            _store.remember_forgotten(opened.path, opened.fd, opened.root_fd, _store.notes_below(git, path))
            paths, revisions = _store.forget(git, opened.store, opened.fd, path)
            _store.give_files(opened.store, opened.fd)
        return ForgottenNote(path=path, paths=paths, revisions=revisions)

    async def _fill(self, opened: OpenHistory) -> HistoryUpdate:
        """Three steps: scan the notes, close the journal under the lease, and put both into the store.

        What an agent commits after the scan is in the journal, and for a note that a row has changed the scan is
        ignored. So no agent's commit is attributed to others, and the lease is held for two renames only. Notes that
        rows have changed are scanned once more.
        """
        check_cancelled = trio.from_thread.check_cancelled
        total, hashes = HistoryUpdate(), run_state().hashes
        try:
            for _ in range(_MOST_LOOKS):
                known, found = await in_thread(partial(look, opened, self._suffixes, hashes, check_cancelled))
                async with self._lease() as lease:
                    files = [] if lease.unsettled is not None else await in_thread(partial(close_journal, opened.fd))
                added, again = await in_thread(
                    partial(put, opened, known, found, files, self._config.max_bytes, check_cancelled)
                )
                total = HistoryUpdate(
                    commits=total.commits + added.commits,
                    external=total.external + added.external,
                    pruned=total.pruned + added.pruned,
                )
                if not again:
                    break
            return total
        except OSError as error:
            if error.errno in _CANNOT_WRITE:
                return HistoryUpdate()  # it is readable as it is
            raise self._storage_error(error) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread(work)
        except OSError as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: OSError) -> MemoryStorageError:
        return MemoryStorageError(str(self._path), error.errno or 0, error.strerror or str(error))

    def _with_git(self, opened: OpenHistory, function: Callable[[Git], T]) -> T:
        with open_git(str(self._path), opened.store, trio.from_thread.check_cancelled) as git:
            return function(git)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[OpenHistory | None]:
        """The history, locked against all other tasks and processes; None if there is none."""
        root_fd = await in_thread(partial(open_root, self._path, create=False))
        history_fd: int | None = None
        try:
            history_fd = await in_thread(partial(_open_history, self._path, self._config.folder, root_fd))
            if history_fd is None:
                yield None
                return
            delay = _POLL_FIRST
            while not _try_lock(history_fd):
                await trio.sleep(delay)
                delay = min(2 * delay, _POLL_LAST)
            path = self._config.folder or self._path / RESERVED / FOLDER
            yield OpenHistory(str(self._path), path, history_fd, root_fd)
        finally:
            if history_fd is not None:
                fcntl.flock(history_fd, fcntl.LOCK_UN)
                os.close(history_fd)
            os.close(root_fd)


def check_note_path(path: object) -> None:
    """Raise InvalidInputError for anything that is not a note's path."""
    if not isinstance(path, str) or not is_inside(path):
        raise InvalidInputError("path", f"must be a note's path such as 'entities/ada.md', not {path!r:.200}")


def _open_history(path: Path, folder: Path | None, root_fd: int) -> int | None:
    try:
        if folder is not None:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                check_owner(str(path), fd)
            except BaseException:
                os.close(fd)
                raise
            return fd
        private_fd = _fsops.open_dir(RESERVED, root_fd)
        try:
            return _fsops.open_dir(FOLDER, private_fd)
        finally:
            _fsops.close(private_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise MemoryStorageError(str(path), error.errno or 0, error.strerror or "") from error
        advice = "ask its owner" if error.errno in _CANNOT_WRITE else "move it away"
        raise MemoryHistoryError(str(path), f"its folder cannot be opened: {error.strerror}; {advice}") from error


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
