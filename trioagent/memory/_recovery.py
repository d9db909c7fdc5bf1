"""After a process died in a commit: complete it, roll it back, or clean up."""

from __future__ import annotations

import errno
import stat

from .._errors import MemoryPathError
from ..tools import RESERVED
from . import _fsops
from ._apply import StepError, carry_out, take_back
from ._commit import LeasedMemory, storage_error
from ._history._journal import open_existing, settle_last_row
from ._paths import Folders
from ._private import private_folder, remove_private
from ._record import REDO, UNDO, CommitRecord, leftovers
from ._sizes import stamp_now


def check_clean(leased: LeasedMemory) -> bool | None:
    """The result of :func:`recover` if there is nothing to recover, in a few system calls; None if there is."""
    try:
        status = _fsops.lstat(RESERVED, leased.root_fd)
        if status is None:
            return False
        with private_folder(leased.root_fd) as fd:
            names = _fsops.names(fd)
    except OSError:
        return None  # `recover` will raise the error
    return True if names and not leftovers(names) else None


def recover(leased: LeasedMemory) -> bool:
    """Complete, roll back, or clean up after, a commit whose process died. Returns whether ``.trioagent`` still exists.

    A commit whose record is in place is completed; if the system refuses that, it is rolled back. Notes that others
    have changed since are left unchanged.

    Raises:
        MemoryStorageError: the disk refused both; the record stays, and the next lease tries again.
        MemoryPathError: ``.trioagent`` is something that is not ours.
    """
    try:
        status = _fsops.lstat(RESERVED, leased.root_fd)
        if status is None:
            return False
        if not stat.S_ISDIR(status.st_mode):
            raise MemoryPathError(leased.path, f"it holds a file named {RESERVED}, a reserved name; move it away")
        with private_folder(leased.root_fd) as fd:
            names = _fsops.names(fd)
            if names and not leftovers(names):
                return True
            leased.cache.take(leased.path)
            stamp_now(leased.root_fd)
            has_record = REDO in names or UNDO in names
            if has_record:
                _settle(leased, fd)
            _settle_history(leased, fd, names)
            return _clean_up(leased, fd, must=has_record)
    except IsADirectoryError as error:
        raise MemoryPathError(leased.path, f"its {RESERVED} holds a folder, which is not ours; move it away") from error
    except StepError as error:
        raise storage_error(leased, error.error, pending=True) from error
    except OSError as error:
        raise storage_error(leased, error, pending=True) from error


def _settle(leased: LeasedMemory, fd: int) -> None:
    with Folders(leased.root_fd) as folders:
        undo = _read_record(UNDO, fd)
        if undo is not None:
            take_back(undo, folders, fd, sync=leased.sync)
        redo = _read_record(REDO, fd)
        if redo is None:
            return
        try:
            carry_out(redo, folders, fd, sync=leased.sync, again=True)
        except StepError:
            _fsops.rename(REDO, fd, UNDO, fd)
            take_back(redo, folders, fd, sync=leased.sync)


def _settle_history(leased: LeasedMemory, fd: int, names: list[str]) -> None:
    """Correct the journals, in the memory and elsewhere, to what has actually happened."""
    for folder in {None, leased.history.folder if leased.history is not None else None}:
        history_fd = open_existing(folder, fd)
        if history_fd is not None:
            try:
                with Folders(leased.root_fd) as folders:
                    settle_last_row(history_fd, fd, folders, names)
            finally:
                _fsops.close(history_fd)


def _clean_up(leased: LeasedMemory, fd: int, *, must: bool) -> bool:
    """Remove leftover files; returns whether ``.trioagent`` still exists.

    A record has to be removed (*must*), since the next lease would carry it out once more; other files do no harm.
    """
    try:
        return not remove_private(leased.root_fd, fd)
    except IsADirectoryError:
        raise
    except OSError:
        if must and {REDO, UNDO} & set(_fsops.names(fd)):
            raise
        return True


def _read_record(name: str, private_fd: int) -> CommitRecord | None:
    """The record to carry out. None if it is torn (by a power cut without sync), or was never ours."""
    try:
        text = _fsops.read(name, private_fd)
        return None if text is None else CommitRecord.decode(text)
    except ValueError:
        return None
    except OSError as error:
        if error.errno == errno.EFBIG:
            return None
        raise
