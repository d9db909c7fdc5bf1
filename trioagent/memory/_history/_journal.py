"""The history's part of a commit: one row, appended to a journal before the notes are renamed.

A row holds everything that the store needs: the notes as the commit leaves them, and, unless the row before it has the
same, as the commit found them; so the owner's changes in between are not lost either. If a commit is rolled
back, its row is truncated. If a process died in between, the next lease decides by the files that the commit left
whether the row happened (`settle_last_row`).

The file ``journal`` is appended to under the lease. Closed, it is renamed to ``rows-N``, N being its last sequence
number, and is removed when the store has it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..._errors import MemoryHistoryError
from ...tools import Version
from .. import _fsops
from .._apply import give_to
from .._paths import Folders
from .._plan import CommitPlan
from .._record import REDO, UNDO, UNFINISHED
from ._revisions import CommitOrigin
from ._rows import PREFIX, PREFIX_BYTES, CommitRow, RowChange, end_of_rows, next_begin, row_at, start_of_last
from ._tips import JournalTip, JournalTips

FOLDER, JOURNAL, IGNORE, FORGOTTEN, OWNER = "history", "journal", ".gitignore", "forgotten.json", "memory"
LARGEST_NOTE = 16 * 1024 * 1024
"""Bytes; the content of a larger file is not kept."""

_CLOSED = re.compile(r"rows-([0-9]{1,18})")
_CLOSE_ABOVE = 64 * 1024 * 1024  # bytes: so that a torn end is found quickly
_LONGEST_MESSAGE, _LONGEST_PATH = 4000, 8192
_NOT_OURS = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO}


@attrs.frozen
class JournalPlace:
    """Where the journal of a memory is, and what is kept in it.

    Attributes:
        folder: of the history; None for the one in the memory.
        keep_messages: see `HistoryConfig`.
        tips: cached ends of all journals.
    """

    folder: Path | None
    keep_messages: bool
    tips: JournalTips


class CommitJournal:
    """A journal that is open for one commit, under its memory's lease."""

    def __init__(self, place: JournalPlace, path: str, history_fd: int, owner: os.stat_result | None) -> None:
        self._place, self._path, self._history_fd, self._owner = place, path, history_fd, owner
        self._fd = _fsops.open_append(JOURNAL, history_fd)
        try:
            self._tip = self._known_tip() or self._read_tip()
        except BaseException:
            _fsops.close(self._fd)
            raise
        self._appended: CommitRow | None = None

    def close(self) -> None:
        _fsops.close(self._fd)

    def row(self, commit_id: str, plan: CommitPlan, folders: Folders, origin: CommitOrigin) -> CommitRow | None:
        """The row for a plan; None if it changes no notes."""
        forgotten = read_forgotten(self._history_fd)
        changes = []
        for path in (*plan.deletes, *plan.writes):
            found, data = plan.before(path), plan.writes.get(path)
            before = None if found is None else found.version
            mode = None if found is None else found.status.st_mode & 0o7777
            base = None
            if found is not None and before != self._tip.versions.get(path) and before != forgotten.get(path):
                base = _content(folders, path, found.status.st_size)
            changes.append(RowChange(path, before, plan.after.get(path), mode, base, data))
        if not changes:
            return None
        return CommitRow(
            id=commit_id + os.urandom(4).hex(),
            time=time.time(),
            origin=attrs.evolve(origin, said=origin.said[:_LONGEST_MESSAGE] if self._place.keep_messages else ""),
            changes=tuple(changes),
            made=tuple(folder.path for folder in plan.made),
            removed={folder.path: folder.mode for folder in plan.removed},
        )

    def append(self, row: CommitRow, *, sync: bool) -> None:
        """Append a row. Nothing is appended if that fails.

        Raises:
            OSError: the disk refused.
        """
        size = self._tip.stamp[1]
        if size > _CLOSE_ABOVE:
            self._close_file()
            size = 0
        row = attrs.evolve(row, sequence=self._tip.sequence + 1)
        begin = b"" if size else PREFIX % row.sequence
        try:
            _fsops.write(self._fd, begin + row.encode())
            if sync:
                _fsops.fsync(self._fd)
                if begin:
                    _fsops.fsync(self._history_fd)
        except OSError:
            _fsops.truncate(self._fd, size)
            raise
        self._appended = row

    def take_back(self) -> None:
        """Truncate the row: its commit did not happen."""
        if self._appended is not None:
            _fsops.truncate(self._fd, self._tip.stamp[1])
            self._appended = None

    def keep(self) -> None:
        """Its commit happened."""
        if self._appended is not None:
            self._tip.sequence = self._appended.sequence
            self._tip.versions.update((change.path, change.after) for change in self._appended.changes)
            self._tip.stamp = _stamp(self._fd)
            self._place.tips.put(self._path, self._tip)

    def _known_tip(self) -> JournalTip | None:
        tip = self._place.tips.take(self._path)
        return tip if tip is not None and tip.stamp == _stamp(self._fd) else None

    def _read_tip(self) -> JournalTip:
        """The tip as read from the file, whose torn end is truncated, and from the names of closed files."""
        if self._owner is not None:
            give_to(self._owner, self._fd)
        stamp = _stamp(self._fd)
        if stamp[1]:
            sequence, size = end_of_rows(self._fd, stamp[1])
            if size != stamp[1]:
                _fsops.truncate(self._fd, size)
                stamp = _stamp(self._fd)
            if size:
                return JournalTip(stamp, sequence)
        return JournalTip(stamp, last_closed(_fsops.names(self._history_fd)))

    def _close_file(self) -> None:
        """Continue in a new file; this one is large enough."""
        _fsops.rename(JOURNAL, self._history_fd, f"rows-{self._tip.sequence:018}", self._history_fd)
        fd, self._fd = self._fd, _fsops.open_append(JOURNAL, self._history_fd)
        _fsops.close(fd)
        if self._owner is not None:
            give_to(self._owner, self._fd)
        self._tip.stamp = _stamp(self._fd)


@contextlib.contextmanager
def open_journal(
    place: JournalPlace, path: str, private_fd: int, owner: os.stat_result | None
) -> Iterator[CommitJournal]:
    """The journal of the memory at *path*, created with its folder if it does not exist.

    Args:
        private_fd: ``.trioagent``.
        owner: its owner; None: this process's user.

    Raises:
        MemoryHistoryError: something in its place is not ours.
        OSError: the disk refused.
    """
    with contextlib.ExitStack() as stack:
        try:
            history_fd = _open_folder(place.folder, private_fd, owner)
            stack.callback(_fsops.close, history_fd)
            if place.folder is not None:
                check_owner(path, history_fd, make=True)
            journal = CommitJournal(place, path, history_fd, owner)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            problem = f"its folder or journal is a link, or not a file of ours ({error.strerror}); move it away"
            raise MemoryHistoryError(path, problem) from error
        stack.callback(journal.close)
        yield journal


def check_owner(path: str, history_fd: int, *, make: bool = False) -> None:
    """Check that a history's folder outside its memory belongs to this memory, or to where that has moved.

    Args:
        make: record the owner, if there is none yet.

    Raises:
        MemoryHistoryError: it belongs to another memory, which still exists.
    """
    noted = _fsops.read(OWNER, history_fd, _LONGEST_PATH)
    before = None if noted is None else os.fsdecode(noted)
    if before == path:
        return
    if before is not None and "\0" not in before and os.path.isdir(before) and not os.path.samefile(before, path):
        raise MemoryHistoryError(
            path, f"its folder is that of the memory {before!r}; give each memory a folder of its own"
        )
    if make:
        with contextlib.suppress(FileNotFoundError):
            _fsops.unlink(OWNER, history_fd)
        fd = _fsops.create(OWNER, history_fd, 0o600)
        try:
            _fsops.write(fd, os.fsencode(path))
        finally:
            _fsops.close(fd)


def open_existing(folder: Path | None, private_fd: int) -> int | None:
    """A descriptor of the history's folder; None if it does not exist, or is not a folder."""
    try:
        return _fsops.open_dir(FOLDER, private_fd) if folder is None else _open_at(folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, *_NOT_OURS):
            return None
        raise


def _open_at(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _open_folder(folder: Path | None, private_fd: int, owner: os.stat_result | None) -> int:
    """The history's folder, accessible to its owner only: notes may be private."""
    try:
        return _fsops.open_dir(FOLDER, private_fd) if folder is None else _open_at(folder)
    except FileNotFoundError:
        pass
    if folder is None:
        _fsops.mkdir(FOLDER, private_fd, 0o700)
        fd = _fsops.open_dir(FOLDER, private_fd)
    else:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _open_at(folder)
    try:
        ignore = _fsops.open_append(IGNORE, fd)
        try:
            if not _fsops.fstat(ignore).st_size:
                _fsops.write(ignore, b"*\n")
            if owner is not None:
                give_to(owner, ignore)
                give_to(owner, fd)
        finally:
            _fsops.close(ignore)
    except BaseException:
        _fsops.close(fd)
        raise
    return fd


def close_journal(history_fd: int) -> list[str]:
    """Close the journal, if it has rows; returns the names of all closed files, oldest first. Requires the lease."""
    if _fsops.lstat(JOURNAL, history_fd) is not None:
        fd = _fsops.open_append(JOURNAL, history_fd)
        try:
            size = _fsops.fstat(fd).st_size
            sequence, end = end_of_rows(fd, size) if size else (0, 0)
            if end != size:
                _fsops.truncate(fd, end)
        finally:
            _fsops.close(fd)
        if end > PREFIX_BYTES:
            _fsops.rename(JOURNAL, history_fd, f"rows-{sequence:018}", history_fd)
            _begin_file(history_fd, sequence + 1)
    return sorted(name for name in _fsops.names(history_fd) if _CLOSED.fullmatch(name))


def _begin_file(history_fd: int, sequence: int) -> None:
    """A new journal that stores its first number: the closed files are removed once the store has them."""
    owner = _fsops.fstat(history_fd) if os.geteuid() == 0 else None
    fd = _fsops.open_append(JOURNAL, history_fd)
    try:
        if owner is not None:
            give_to(owner, fd)
        _fsops.write(fd, PREFIX % sequence)
    finally:
        _fsops.close(fd)


def last_closed(names: list[str]) -> int:
    """The last sequence number in the closed files of a history; 0 if there are none."""
    return max((int(match[1]) for match in map(_CLOSED.fullmatch, names) if match), default=0)


def journal_bytes(history_fd: int) -> int:
    """The bytes of the journal and of its closed files."""
    names = (name for name in _fsops.names(history_fd) if name == JOURNAL or _CLOSED.fullmatch(name))
    found = (_fsops.lstat(name, history_fd) for name in names)
    return sum(status.st_size for status in found if status is not None)


def read_rows(name: str, history_fd: int) -> Iterator[CommitRow]:
    """The rows of a closed file. Damaged rows are skipped."""
    fd = _fsops.open_append(name, history_fd)
    try:
        size, at = _fsops.fstat(fd).st_size, PREFIX_BYTES
        while at < size:
            row, end = row_at(fd, at, size)
            if row is not None:
                yield row
            at = end if row is not None else next_begin(fd, at + 1, size)
    finally:
        _fsops.close(fd)


def read_forgotten(history_fd: int) -> dict[str, Version]:
    """Path to the version of the notes whose present content must not be kept (see `Memory.forget`)."""
    try:
        text = _fsops.read(FORGOTTEN, history_fd, 1024 * 1024)
        found = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {path: version for path, version in found.items() if isinstance(version, str)}


def settle_last_row(history_fd: int, private_fd: int, folders: Folders, names: list[str]) -> None:
    """After a commit died: correct its row where the notes and the commit's own files disprove it.

    To be called before these files are removed, and after the record was carried out or rolled back.

    Args:
        names: the files in ``.trioagent`` when the lease began.

    Raises:
        OSError: the disk refused.
    """
    if _fsops.lstat(JOURNAL, history_fd) is None:
        return
    try:
        fd = _fsops.open_append(JOURNAL, history_fd)
    except OSError as error:
        if error.errno in _NOT_OURS:  # planted; the next append raises it
            return
        raise
    try:
        size = _fsops.fstat(fd).st_size
        _, end = end_of_rows(fd, size) if size else (0, 0)
        if end != size:
            _fsops.truncate(fd, end)
        start = start_of_last(fd, end)
        if start is None:
            return
        row, _ = row_at(fd, start, end)
        if row is None or row.void is not None or not _is_of(row, names, private_fd):
            return
        undone = UNDO in names or (UNFINISHED in names and REDO not in names)
        void = [change.path for change, file in _files_of(row) if _disproved(change, file, folders, private_fd, undone)]
        if len(void) == len(row.changes):
            _fsops.truncate(fd, start)
        elif void:
            verdict = CommitRow(id=row.id, time=row.time, sequence=row.sequence + 1, void=tuple(void))
            try:
                _fsops.write(fd, verdict.encode())
            except OSError:
                _fsops.truncate(fd, end)
                raise
    finally:
        _fsops.close(fd)


def _is_of(row: CommitRow, names: list[str], private_fd: int) -> bool:
    """Whether the commit of this row left one of the files."""
    commit_id = row.id[:8]
    if any(f"-{commit_id}-" in name for name in names):
        return True
    for name in (REDO, UNDO, UNFINISHED):
        if name in names:
            try:
                text = _fsops.read(name, private_fd)
            except OSError as error:
                if error.errno != errno.EFBIG:
                    raise
                continue
            if text is not None and f"-{commit_id}-".encode() in text:
                return True
    return False


def _files_of(row: CommitRow) -> Iterator[tuple[RowChange, str]]:
    """Each note of a row with its file in ``.trioagent`` (see `_commit._stage`)."""
    writes = [change for change in row.changes if change.after is not None]
    deletes = [change for change in row.changes if change.after is None]
    for number, change in enumerate((*writes, *deletes)):
        yield change, f"{'new' if number < len(writes) else 'old'}-{row.id[:8]}-{number}"


def _disproved(change: RowChange, file: str, folders: Folders, private_fd: int, undone: bool) -> bool:
    """Whether a note was not changed: its new content is still staged, or the deleted one was not moved away."""
    found = _fsops.version(file, private_fd)
    if change.after is not None:
        return found == change.after
    if found is not None:
        return False
    present = folders.version(change.path)
    return present is not None and (undone or present == change.before)


def _content(folders: Folders, path: str, size: int) -> bytes | None:
    if size > LARGEST_NOTE:
        return None
    try:
        return folders.read(path, LARGEST_NOTE)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return None
        raise


def _stamp(fd: int) -> tuple[int, int, int]:
    status = _fsops.fstat(fd)
    return status.st_ino, status.st_size, status.st_mtime_ns
