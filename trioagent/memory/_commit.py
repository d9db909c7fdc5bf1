"""A commit: all of a block's changes become the memory's state at one instant, or none do.

1. The plan is made and checked against conflicts and limits; nothing is written yet.
2. New contents are written to files in ``.trioagent``, on the same file system as the notes.
3. The redo record is written beside them and renamed into place: *now* the commit has happened.
4. Renames, deletions and folders are carried out; the record and ``.trioagent`` are removed. A commit with a receipt
   keeps its record, under the receipt's name.

A process that dies before 3 leaves files that the next lease removes; one that dies later leaves a record that the next
lease carries out. A commit of a single change needs no record: its one rename (or unlink) is atomic by itself.

By default that holds for the death of the process at any instant, whatever the file system: the kernel keeps what was
written. With ``sync`` it holds for a power cut too, at the price of an fsync for each file and folder.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator

import attrs

from .._config import MemoryLimits
from .._errors import MemoryLimitError, MemoryPathError, MemoryRejectedError, MemoryStorageError
from . import _fsops
from ._changes import ChangeSet
from ._knowledge import Knowledge
from ._paths import PRIVATE, Folders, Version, is_inside, version_of
from ._plan import CommitPlan, check_conflicts, check_limits, check_places, make_plan
from ._redo import RECORD, UNFINISHED, Redo, Staged, carry_out, give_to, leftovers, sha256, tidy
from ._sizes import Sizes, SizesCache, stamp_now
from ._undo import UndoLog, Undone

_SMALL_CHANGES, _SMALL_BYTES, _SMALL_FOLDERS = 16, 256 * 1024, 64


@attrs.frozen
class Receipt:
    """Written in the same instant as a commit's changes, to find out after a crash whether they were committed.

    Attributes:
        key: whose commit it is, e.g. a job and the number of its block.
        payload: whatever is needed to go on from there.
    """

    key: str
    payload: bytes = b""

    @property
    def file(self) -> str:
        return f"receipt-{sha256(self.key.encode())}"


@attrs.frozen
class LeasedMemory:
    """A memory whose lease is held.

    Attributes:
        path: the folder, absolute.
        root_fd: its descriptor.
        cache: the sizes of the memories used last.
        limits: what the memory may hold.
        sync: flush every file and folder, so that commits survive a power cut.
    """

    path: str
    root_fd: int
    cache: SizesCache
    limits: MemoryLimits = MemoryLimits()
    sync: bool = False


def commit(
    leased: LeasedMemory,
    changes: ChangeSet,
    *,
    knowledge: Knowledge | None = None,
    reads: Iterable[str] = (),
    receipt: Receipt | None = None,
    undo: UndoLog | None = None,
) -> bool:
    """Do it; see :meth:`trioagent.memory.Lease.commit`. To be called under the lease, in any thread."""
    sizes = leased.cache.take(leased.path)
    with Folders(leased.root_fd) as folders:
        try:
            plan = _checked_plan(
                leased, folders, changes, knowledge, [path for path in reads if is_inside(path)], sizes
            )
            previous = {} if undo is None else {path: folders.read(path) for path in (*plan.deletes, *plan.writes)}
            if not plan and receipt is None:
                leased.cache.put(leased.path, sizes)
                return False
            versions = _save(leased, folders, plan, receipt)
        except MemoryRejectedError:
            leased.cache.put(leased.path, sizes)
            raise
        except OSError as error:
            raise _storage_error(leased, error) from error
        with contextlib.suppress(OSError):  # the commit stands; sizes that cannot be kept are counted again
            sizes.apply(plan.deltas(), plan.made, plan.removed)
            sizes.seal(folders, plan.touched())
            leased.cache.put(leased.path, sizes)
    if knowledge is not None:
        for path in (*plan.deletes, *plan.writes):
            knowledge.saw(path, versions.get(path))
    if undo is not None:
        undo.steps.append(Undone(previous, {path: versions.get(path) for path in previous}, plan.made, plan.removed))
    return bool(plan)


def recover(leased: LeasedMemory) -> bool:
    """Finish, or clean up after, a commit whose process died. Is ``.trioagent`` still there (it holds receipts)?

    Raises:
        MemoryStorageError: the disk refused; the record stays, and the next lease tries again.
        MemoryPathError: ``.trioagent`` is something that is not ours.
    """
    try:
        status = _fsops.lstat(PRIVATE, leased.root_fd)
        if status is None:
            return False
        if not stat.S_ISDIR(status.st_mode):
            raise MemoryPathError(leased.path, f"it holds a file named {PRIVATE}, a name that is needed; move it away")
        with _private(leased.root_fd) as fd:
            names = _fsops.names(fd)
            if names and not leftovers(names):
                return True
            leased.cache.take(leased.path)
            stamp_now(leased.root_fd)
            redo = _record_in(fd)
            if redo is not None:
                with Folders(leased.root_fd) as folders:
                    carry_out(redo, folders, fd, sync=leased.sync, again=True)
            return not _tidy_up(leased.root_fd, fd)
    except IsADirectoryError as error:
        raise MemoryPathError(leased.path, f"its {PRIVATE} holds a folder, which is not ours; move it away") from error
    except OSError as error:
        raise _storage_error(leased, error, pending=True) from error


def check_clean(leased: LeasedMemory) -> bool | None:
    """What :func:`recover` returns if there is nothing to recover, in a few system calls; None if there is."""
    try:
        status = _fsops.lstat(PRIVATE, leased.root_fd)
        if status is None:
            return False
        with _private(leased.root_fd) as fd:
            names = _fsops.names(fd)
    except OSError:
        return None  # `recover` meets it again, and says what it is
    return True if names and not leftovers(names) else None


def is_small(leased: LeasedMemory, changes: ChangeSet) -> bool:
    """Whether committing *changes* costs less than handing it to a thread, which takes some 70 us of CPU.

    A small commit is some 50 system calls; nothing is flushed and no notes are counted, however many there are.
    """
    return (
        not leased.sync
        and len(changes) <= _SMALL_CHANGES
        and sum(map(len, changes.writes.values())) <= _SMALL_BYTES
        and 0 < leased.cache.folders_of(leased.path) <= _SMALL_FOLDERS
    )


def count_if_empty(leased: LeasedMemory) -> None:
    """Put the sizes of an empty memory, as when it has just been made, into the cache."""
    try:
        if _fsops.names(leased.root_fd):
            return
        sizes = leased.cache.take(leased.path)
        with Folders(leased.root_fd) as folders:
            sizes.refresh(folders, ())
    except OSError:
        return  # it is counted at the first commit
    leased.cache.put(leased.path, sizes)


def _record_in(private_fd: int) -> Redo | None:
    """The record to carry out. One that is torn (by a power cut without sync), or was never ours, says nothing."""
    try:
        text = _fsops.read(RECORD, private_fd)
        return None if text is None else Redo.decode(text)
    except ValueError:
        return None
    except OSError as error:
        if error.errno == errno.EFBIG:
            return None
        raise


def read_receipt(leased: LeasedMemory, key: str) -> bytes | None:
    with _existing(leased) as fd:
        text = None if fd is None else _fsops.read(Receipt(key).file, fd)
    return None if text is None else receipt_payload(text)


def receipt_payload(text: bytes) -> bytes | None:
    """What the receipt in a file says; None if it is torn, by a power cut without sync, or never was ours."""
    try:
        return base64.b64decode(Redo.decode(text).payload, validate=True)
    except ValueError:
        return None


def drop_receipt(leased: LeasedMemory, key: str) -> None:
    with _existing(leased) as fd:
        if fd is None:
            return
        with contextlib.suppress(FileNotFoundError):
            _fsops.unlink(Receipt(key).file, fd)
    try:
        with leased.cache.kept(leased.path, leased.root_fd), _private(leased.root_fd) as fd:
            _tidy_up(leased.root_fd, fd)
    except OSError as error:
        raise _storage_error(leased, error) from error


def _checked_plan(
    leased: LeasedMemory,
    folders: Folders,
    changes: ChangeSet,
    knowledge: Knowledge | None,
    read: list[str],
    sizes: Sizes,
) -> CommitPlan:
    if knowledge is not None:
        for path in read:
            knowledge.saw(path, version_of(folders.status(path)))
    plan = make_plan(folders, changes)
    if knowledge is not None:
        check_conflicts(plan, knowledge, read)
    sizes.refresh(folders, plan.touched())
    check_limits(plan, leased.limits, sizes, leased.path)
    check_places(plan, folders)
    return plan


def _save(leased: LeasedMemory, folders: Folders, plan: CommitPlan, receipt: Receipt | None) -> dict[str, Version]:
    """Stage and carry out a plan; the versions of the notes written.

    Raises:
        OSError: nothing was changed.
        MemoryStorageError: the commit has happened, but not all of it is carried out yet.
    """
    with_record = leased.sync or receipt is not None or len(plan) > 1
    committed = False
    with _private(leased.root_fd, make=True) as fd:
        try:
            redo, versions = _stage(leased, folders, plan, receipt, fd, hashed=with_record)
            stamp_now(leased.root_fd)  # if we die from here on, every other process sees that something was committed
            if with_record:
                _write_staged(UNFINISHED, _encoded(redo), fd, sync=leased.sync)
                _fsops.rename(UNFINISHED, fd, RECORD, fd)
                committed = True
                if leased.sync:
                    _fsops.fsync(fd)
                    _fsops.fsync(leased.root_fd)
            carry_out(redo, folders, fd, sync=leased.sync)
        except (OSError, MemoryLimitError) as error:
            if committed and isinstance(error, OSError):
                raise _storage_error(leased, error, pending=True) from error
            with contextlib.suppress(OSError):
                _tidy_up(leased.root_fd, fd)
            raise
        with contextlib.suppress(OSError):  # all is done; what cannot be removed now, the next lease removes
            _tidy_up(leased.root_fd, fd)
    return versions


def _encoded(redo: Redo) -> bytes:
    record = redo.encode()
    if len(record) > _fsops.MAX_READ:
        raise MemoryLimitError(
            ".", f"{len(redo.writes)} notes, and more, are too many to be changed at once; do it in parts"
        )
    return record


def _stage(
    leased: LeasedMemory, folders: Folders, plan: CommitPlan, receipt: Receipt | None, fd: int, *, hashed: bool
) -> tuple[Redo, dict[str, Version]]:
    """Write all new contents to ``.trioagent``."""
    owner = _fsops.fstat(leased.root_fd) if os.geteuid() == 0 else None
    moment = time.time_ns()
    staged, versions = [], {}
    for number, (path, data) in enumerate(plan.writes.items()):
        before, file = plan.replaced.get(path), f"new-{number}"
        version = _write_staged(file, data, fd, sync=leased.sync, like=before, owner=owner, moment=moment)
        staged.append(Staged(file, path, sha256(data) if hashed else "", version_of(before)))
        versions[path] = version
    kept, payload = ("", "") if receipt is None else (receipt.file, base64.b64encode(receipt.payload).decode())
    deletes = {path: (status.st_ino, status.st_mtime_ns, status.st_size) for path, status in plan.deletes.items()}
    return Redo(moment, deletes, plan.removed, plan.made, tuple(staged), kept, payload), versions


def _write_staged(
    file: str,
    data: bytes,
    dir_fd: int,
    *,
    sync: bool,
    like: os.stat_result | None = None,
    owner: os.stat_result | None = None,
    moment: int | None = None,
) -> Version:
    """A new file with the mode (and, for root, the owner) of the note *like*, else of any new file in the memory."""
    fd = _fsops.create(file, dir_fd)
    try:
        _fsops.write(fd, data)
        if owner is not None:
            give_to(like or owner, fd)
        if like is not None and stat.S_ISREG(like.st_mode):
            _fsops.chmod(fd, like.st_mode & 0o777)
        if moment is not None:
            # The kernel's own stamp moves in steps of 4 to 10 ms; ours tells two commits in one step apart.
            _fsops.set_times(fd, moment, moment)
        if sync:
            _fsops.fsync(fd)
        status = _fsops.fstat(fd)
    finally:
        _fsops.close(fd)
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextlib.contextmanager
def _private(root_fd: int, *, make: bool = False) -> Iterator[int]:
    if make:
        with contextlib.suppress(FileExistsError):
            _fsops.mkdir(PRIVATE, root_fd)
    fd = _fsops.open_dir(PRIVATE, root_fd)
    try:
        if make and os.geteuid() == 0:
            give_to(_fsops.fstat(root_fd), fd)  # its owner must be able to clean up after us
        yield fd
    finally:
        _fsops.close(fd)


def _tidy_up(root_fd: int, private_fd: int) -> bool:
    """Remove what a commit left; is ``.trioagent`` gone?"""
    gone = tidy(private_fd)
    if gone:
        _fsops.rmdir(PRIVATE, root_fd)
    return gone


@contextlib.contextmanager
def _existing(leased: LeasedMemory) -> Iterator[int | None]:
    """``.trioagent``, where receipts are kept, or None if it is not there."""
    try:
        fd = _fsops.open_dir(PRIVATE, leased.root_fd)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _storage_error(leased, error) from error
    try:
        yield fd
    except OSError as error:
        raise _storage_error(leased, error) from error
    finally:
        _fsops.close(fd)


def _storage_error(leased: LeasedMemory, error: OSError, *, pending: bool = False) -> MemoryStorageError:
    return MemoryStorageError(leased.path, error.errno or 0, error.strerror or str(error), pending)
