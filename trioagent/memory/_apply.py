"""Carrying out a commit's record, and rolling it back; both directly and after a crash.

A note is never overwritten: the old and the new one are exchanged (RENAME_EXCHANGE), and then the displaced one is
checked. If it is not the version that the commit was checked against, or another program has it open for
writing, the two are exchanged back. A deleted note is moved into ``.trioagent`` and checked there. So a commit
can be rolled back until ``.trioagent`` is cleaned up, with modes, owners and everything else that belongs to a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import ParamSpec

from . import _fsops
from ._paths import Folders, split
from ._record import REDO, Before, CommitRecord, Deletion, FolderChange, LegacyVersion, StagedWrite, leftovers

P = ParamSpec("P")

# Errors because an outside program has changed the place of a folder's change; it acted later, so its state stands.
_OVERTAKEN = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP}
_OVERTAKEN.add(errno.ENAMETOOLONG)  # only a record that we have not written contains an impossible name


_COPIED_NS = 1000  # precision that archives and copies may lose of a timestamp


class OvertakenError(Exception):
    """Another program changed a note between the commit's check and its rename; its content is back in place."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class RecordNeededError(Exception):
    """The file system cannot exchange two files, so a note would be missing for a moment: a record is needed first."""


class StepError(Exception):
    """The system refused one step of a commit."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(path, error)
        self.path, self.error = path, error


def carry_out(
    record: CommitRecord,
    folders: Folders,
    private_fd: int,
    *,
    sync: bool = False,
    again: bool = False,
    recorded: bool = True,
) -> None:
    """Carry out the steps of the record that are not done yet.

    Args:
        record: the steps.
        folders: the memory's folders.
        private_fd: ``.trioagent``, with the staged files.
        sync: flush every folder that has changed.
        again: after a crash: notes that are not in the version that the commit replaces are left unchanged.
        recorded: the record is in ``.trioagent``, so that a death at any step is recovered from.

    Raises:
        RecordNeededError: a record is needed first; nothing was done. Never if *recorded*.
        OvertakenError: another program changed a note meanwhile; the commit is to be rolled back. Not with *again*.
        StepError: the system refused; the commit is to be rolled back, or the step retried.
    """
    for deletion in record.deletes:
        _step(deletion.path, _delete, deletion, folders, private_fd, again)
    for folder in record.removed:
        _step(folder.path, _remove_folder, folder, folders)
    for folder in record.made:
        _step(folder.path, _make_folder, folder, folders)
    for write in record.writes:
        _step(write.path, _write, write, folders, private_fd, again, recorded)
    if sync:
        _flush(record, folders, private_fd)
    if record.receipt:  # last: until here the record must stay where recovery looks for it
        _step(".", _keep_receipt, record.receipt, private_fd, sync)


def take_back(record: CommitRecord, folders: Folders, private_fd: int, *, sync: bool = False) -> None:
    """Roll back the steps of the record that are done. What others changed since is left unchanged.

    Raises:
        StepError: the system refused; try again later.
    """
    for write in reversed(record.writes):
        _step(write.path, _unwrite, write, folders, private_fd)
    for folder in reversed(record.made):
        _step(folder.path, _remove_folder, folder, folders)
    for folder in reversed(record.removed):
        _step(folder.path, _make_folder, folder, folders)
    for deletion in reversed(record.deletes):
        _step(deletion.path, _undelete, deletion, folders, private_fd)
    if sync:
        _flush(record, folders, private_fd)


def tidy(private_fd: int) -> bool:
    """Remove all files of a commit from ``.trioagent``, its record first; returns whether nothing else is there."""
    names = set(_fsops.names(private_fd))
    for name in leftovers(names):
        _fsops.unlink(name, private_fd)
        names.discard(name)
    return not names


def give_to(owner: os.stat_result, fd: int) -> None:
    """Give what root makes in a user's memory to that user."""
    present = _fsops.fstat(fd)
    if (owner.st_uid, owner.st_gid) != (present.st_uid, present.st_gid):
        try:
            _fsops.chown(fd, owner.st_uid, owner.st_gid)
        except OSError as error:  # root without that capability, as in a container: the note stays root's
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise


def _step(path: str, operation: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        operation(*args, **kwargs)
    except OSError as error:
        raise StepError(path, error) from error


def _matches(name: str, dir_fd: int, expected: Before) -> bool:
    """Whether a note is in the version that a record names."""
    if isinstance(expected, LegacyVersion):
        status = _fsops.lstat(name, dir_fd)
        if status is None or status.st_size != expected.size:
            return False
        return abs(status.st_mtime_ns - expected.mtime_ns) < _COPIED_NS
    if expected is not None and expected.startswith("sha256:"):
        return _fsops.sha256(name, dir_fd) == expected.removeprefix("sha256:")
    return _fsops.version(name, dir_fd) == expected


def _is_displaced(name: str, private_fd: int, expected: Before) -> bool:
    """Whether a file in ``.trioagent`` is what the commit was checked against, and no program writes to it any more."""
    if isinstance(expected, LegacyVersion):
        return _matches(name, private_fd, expected)
    return _fsops.settled_version(name, private_fd) == expected


def _at(folders: Folders, path: str) -> tuple[int | None, str]:
    """The descriptor of a note's folder, None if that does not exist, and the note's name in it."""
    folder, name = split(path)
    return folders.at(folder), name


def _delete(deletion: Deletion, folders: Folders, private_fd: int, again: bool) -> None:
    fd, name = _at(folders, deletion.path)
    if again and _fsops.lstat(deletion.file, private_fd) is not None:
        if not _matches(deletion.file, private_fd, deletion.before):
            _undelete(deletion, folders, private_fd)  # another program's save, which was about to be restored
        return
    if fd is None or (again and not _matches(name, fd, deletion.before)):
        return
    try:
        _fsops.rename(name, fd, deletion.file, private_fd)
    except OSError as error:
        if error.errno in _OVERTAKEN:
            return  # somebody else has deleted it
        raise
    if not _is_displaced(deletion.file, private_fd, deletion.before):
        _undelete(deletion, folders, private_fd)
        if not again:
            raise OvertakenError(deletion.path)


def _undelete(deletion: Deletion, folders: Folders, private_fd: int) -> None:
    if _fsops.lstat(deletion.file, private_fd) is not None:
        _put_back(deletion.file, folders, deletion.path, private_fd)


def _put_back(file: str, folders: Folders, path: str, private_fd: int) -> None:
    """Move an old note from ``.trioagent`` to its place, unless another note is there by now."""
    fd, name = _at(folders, path)
    if fd is not None:
        _restore(file, private_fd, name, fd)


def _write(write: StagedWrite, folders: Folders, private_fd: int, again: bool, recorded: bool) -> None:
    fd, name = _at(folders, write.path)
    if again and (fd is None or not _is_still_to_do(write, name, fd, private_fd)):
        return
    if fd is None:
        raise OvertakenError(write.path)
    if not _place(write, name, fd, private_fd, recorded) and not again:
        raise OvertakenError(write.path)


def _is_still_to_do(write: StagedWrite, name: str, fd: int, private_fd: int) -> bool:
    """After a crash: whether the note is still staged, and its place has the version that the commit replaces.

    A save of another program that the commit had displaced, and not yet put back, is restored.
    """
    is_staged = _matches(write.file, private_fd, write.after)
    if is_staged and _is_same(write.file, private_fd, name, fd):
        _fsops.unlink(write.file, private_fd)  # the second half of `rename_new`
        return False
    if _fsops.lstat(write.set_aside, private_fd) is not None:
        if not _matches(write.set_aside, private_fd, write.before):
            _restore(write.set_aside, private_fd, name, fd)
            return False
        return is_staged and _fsops.lstat(name, fd) is None
    if is_staged:
        return _matches(name, fd, write.before)
    # The new note is in place, so this file is the old note, or another program's save; or a power cut has torn it.
    if not isinstance(write.before, LegacyVersion) and _matches(name, fd, write.after):
        displaced = _fsops.version(write.file, private_fd)
        if displaced not in (None, write.before):
            _fsops.exchange(write.file, private_fd, name, fd)
    return False


def _place(write: StagedWrite, name: str, fd: int, private_fd: int, recorded: bool) -> bool:
    """Put a staged note in its place; False, with the place unchanged, if another program changed the note there."""
    if write.before is not None and _fsops.lstat(write.set_aside, private_fd) is None:
        # Checked once more, so that other programs hardly ever see, and build on, a note that is then rolled back.
        if not isinstance(write.before, LegacyVersion) and _fsops.settled_version(name, fd) != write.before:
            return False
        try:
            exchanged = _fsops.exchange(write.file, private_fd, name, fd)
        except OSError as error:
            if error.errno in _OVERTAKEN:
                return False  # deleted, or a folder now
            raise
        if exchanged:
            return _is_right_exchange(write, name, fd, private_fd)
        if not recorded:
            raise RecordNeededError
        # Without an exchange the note is missing for a moment; what is there is checked before it is replaced.
        try:
            _fsops.rename(name, fd, write.set_aside, private_fd)
        except OSError as error:
            if error.errno in _OVERTAKEN:
                return False
            raise
        if not _is_displaced(write.set_aside, private_fd, write.before):
            _restore(write.set_aside, private_fd, name, fd)
            return False
    try:
        _fsops.rename_new(write.file, private_fd, name, fd)
    except OSError as error:
        if error.errno in _OVERTAKEN:
            return False
        raise
    return True


def _is_right_exchange(write: StagedWrite, name: str, fd: int, private_fd: int) -> bool:
    """Whether the exchanged note is the one that the commit replaces; if not, the two are exchanged back."""
    if _is_displaced(write.file, private_fd, write.before):
        return True
    _fsops.exchange(write.file, private_fd, name, fd)
    if not _matches(write.file, private_fd, write.after):  # a second save at this very moment: the last one stands
        _fsops.exchange(write.file, private_fd, name, fd)
    return False


def _restore(file: str, private_fd: int, name: str, fd: int) -> None:
    """Move a displaced note back to its place, unless another note is there by now."""
    try:
        _fsops.rename_new(file, private_fd, name, fd)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise


def _unwrite(write: StagedWrite, folders: Folders, private_fd: int) -> None:
    fd, name = _at(folders, write.path)
    if _fsops.lstat(write.set_aside, private_fd) is not None:
        if fd is not None and _matches(name, fd, write.after):
            _unplace(write, name, fd, private_fd)
        _put_back(write.set_aside, folders, write.path, private_fd)
        return
    if fd is None or not _matches(name, fd, write.after):
        return
    if write.before is None:
        _unplace(write, name, fd, private_fd)
    elif _fsops.lstat(write.file, private_fd) is not None and not _matches(write.file, private_fd, write.after):
        _fsops.exchange(write.file, private_fd, name, fd)


def _unplace(write: StagedWrite, name: str, fd: int, private_fd: int) -> None:
    """Remove a note that the commit has written from its place."""
    if _fsops.lstat(write.file, private_fd) is None:
        _fsops.rename(name, fd, write.file, private_fd)
    elif _is_same(write.file, private_fd, name, fd):  # half of `rename_new`; renaming one to the other does nothing
        _fsops.unlink(name, fd)


def _is_same(name: str, dir_fd: int, other: str, other_dir_fd: int) -> bool:
    """Whether two names are links to one file."""
    status, other_status = _fsops.lstat(name, dir_fd), _fsops.lstat(other, other_dir_fd)
    return status is not None and other_status is not None and os.path.samestat(status, other_status)


def _remove_folder(folder: FolderChange, folders: Folders) -> None:
    fd, name = _at(folders, folder.path)
    status = None if fd is None else _fsops.lstat(name, fd)
    if fd is not None and status is not None and stat.S_ISDIR(status.st_mode):
        try:
            _fsops.rmdir(name, fd)
        except OSError as error:
            if error.errno not in _OVERTAKEN:
                raise


def _make_folder(folder: FolderChange, folders: Folders) -> None:
    fd, name = _at(folders, folder.path)
    if fd is None or _fsops.lstat(name, fd) is not None:
        return
    try:
        _fsops.mkdir(name, fd) if folder.mode is None else _fsops.mkdir(name, fd, folder.mode)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise
        return
    if os.geteuid() == 0 or folder.mode is not None:
        new = folders.at(folder.path)
        if new is None:
            return
        if os.geteuid() == 0:
            give_to(_fsops.fstat(folders.root_fd), new)
        if folder.mode is not None:
            present = stat.S_IMODE(_fsops.fstat(new).st_mode)
            if present & 0o777 != folder.mode & 0o777:
                _fsops.chmod(new, present & 0o7000 | folder.mode)  # keep the set-group-ID bit of the parent folder


def _keep_receipt(receipt: str, private_fd: int, sync: bool) -> None:
    try:
        _fsops.rename(REDO, private_fd, receipt, private_fd)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise
    if sync:
        _fsops.fsync(private_fd)


def _flush(record: CommitRecord, folders: Folders, private_fd: int) -> None:
    for folder in record.folders():
        fd = folders.at(folder)
        if fd is not None:
            _step(folder or ".", _fsops.fsync, fd)
    _step(".", _fsops.fsync, private_fd)
