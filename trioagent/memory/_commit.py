"""A commit: all of a block's changes become the memory's state at one instant, or none do.

1. The plan is made and checked for conflicts, limits and what the system will refuse; nothing is written yet.
2. New contents are written to files in ``.trioagent``, on the same file system as the notes.
3. The record is written beside them. If a history is kept, the commit's row is appended to its journal. Then the
   record is renamed into place: this rename *is* the commit.
4. Exchanges, deletions and folders are carried out (:mod:`._apply`); then ``.trioagent`` is emptied and removed. A
   commit with a receipt keeps its record, under the receipt's name.

A process that dies before 3 leaves files that the next lease removes; one that dies later leaves a record that the next
lease carries out (:mod:`._recovery`). If the system refuses a step of 4, or another program has changed a note
meanwhile, the commit is rolled back. A commit of a single change needs no record: its one rename is atomic by itself.
On a file system that cannot exchange two files, replacing a note takes two renames, so the record is written after all.

By default this holds for the death of the process at any instant, on any file system: the kernel keeps what was
written. With ``sync`` it also holds for a power cut, at the price of an fsync for each file and folder.
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import attrs

from .._config import MemoryLimits
from .._errors import (
    MemoryConflictError,
    MemoryHistoryError,
    MemoryLimitError,
    MemoryProtectedError,
    MemoryRejectedError,
    MemoryStorageError,
)
from .._steps import STEP_NAMES
from ..tools import AccessRules
from . import _fsops
from ._access_lists import inherit, keep_attributes
from ._apply import OvertakenError, RecordNeededError, StepError, carry_out, give_to, take_back, tidy
from ._changes import ChangeSet, NoteChange
from ._history._journal import CommitJournal, JournalPlace, open_journal
from ._history._revisions import CommitOrigin
from ._kept_names import under_kept_names
from ._knowledge import NOTHING_SEEN, Knowledge, SeenNotes
from ._obstacles import check_places, reason_of
from ._paths import Folders, is_inside
from ._plan import CommitPlan, check_limits, check_new_names, make_plan
from ._policy import check_policy
from ._private import private_folder, remove_private
from ._record import REDO, UNDO, UNFINISHED, CommitRecord, Deletion, StagedWrite, receipt_name
from ._sizes import Sizes, SizesCache, stamp_now
from ._undo import UndoLog, UndoStep

NO_ORIGIN = CommitOrigin()
_SMALL_CHANGES, _SMALL_BYTES, _SMALL_FOLDERS = 16, 256 * 1024, 64


@attrs.frozen
class Receipt:
    """Written in the same instant as a commit's changes, to find out after a crash whether they were committed.

    Attributes:
        key: identifies the commit, e.g. a job and the number of its block.
        payload: the data needed to continue from there.
    """

    key: str
    payload: bytes = b""

    @property
    def file(self) -> str:
        return receipt_name(self.key)


@attrs.frozen
class LeasedMemory:
    """A memory whose lease is held.

    Attributes:
        path: the folder, absolute.
        root_fd: its descriptor.
        cache: the sizes of recently used memories.
        limits: the limits of the memory.
        sync: flush every file and folder, so that commits survive a power cut.
        rules: what may be changed; None for anything.
        history: where commits are kept; None if they are not.
        record_bytes: of a commit record at most; no recovery reads a longer one.
    """

    path: str
    root_fd: int
    cache: SizesCache
    limits: MemoryLimits = MemoryLimits()
    sync: bool = False
    rules: AccessRules | None = None
    history: JournalPlace | None = None
    record_bytes: int = _fsops.MAX_READ


def commit(
    leased: LeasedMemory,
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
    """Make the commit; see :meth:`trioagent.memory.Lease.commit`. To be called under the lease, in any thread."""
    sizes = leased.cache.take(leased.path)
    with Folders(leased.root_fd) as folders:
        try:
            if now := {path: folders.version(path) for path in reads if is_inside(path)}:
                seen = attrs.evolve(seen, reads={**now, **seen.reads})
            plan = _checked_plan(leased, folders, changes, knowledge, seen, sizes)
            if by_block:
                check_new_names(plan)
            before = {} if undo is None else _contents(plan, folders, undo.most_bytes)
            if not plan and receipt is None:
                leased.cache.put(leased.path, sizes)
                return False
            _save(leased, folders, plan, receipt(seen) if callable(receipt) else receipt, origin)
        except (MemoryRejectedError, MemoryHistoryError):
            leased.cache.put(leased.path, sizes)
            raise
        except OSError as error:
            raise storage_error(leased, error) from error
        with contextlib.suppress(OSError):  # the commit stands; sizes that are not cached are counted again
            sizes.apply(plan.deltas(), [each.path for each in plan.made], [each.path for each in plan.removed])
            sizes.seal(folders, plan.touched())
            leased.cache.put(leased.path, sizes)
    if knowledge is not None:
        for path in (*plan.deletes, *plan.writes):
            knowledge.saw(path, plan.after.get(path))
    if undo is not None:
        undo.steps.append(_undo_step(plan, before, origin))
    return bool(plan)


def preview(
    leased: LeasedMemory,
    changes: ChangeSet,
    *,
    knowledge: Knowledge | None = None,
    reads: Iterable[str] = (),
    seen: SeenNotes = NOTHING_SEEN,
) -> tuple[tuple[NoteChange, ...], SeenNotes]:
    """What a commit would do, and the versions to pass to a later commit, if nothing changes meanwhile.

    Raises as `commit` does; nothing is written.
    """
    sizes = leased.cache.take(leased.path)
    with Folders(leased.root_fd) as folders:
        try:
            now = {path: folders.version(path) for path in reads if is_inside(path)}
            seen = attrs.evolve(seen, reads={**now, **seen.reads})
            plan = _checked_plan(leased, folders, changes, knowledge, seen, sizes)
            paths = sorted((*plan.deletes, *plan.writes))
            found = {path: plan.before(path) for path in paths}
            contents = {path: None if note is None else folders.read(path) for path, note in found.items()}
        except OSError as error:
            raise storage_error(leased, error) from error
        finally:
            leased.cache.put(leased.path, sizes)
    present = {path: None if note is None else note.version for path, note in found.items() if path not in seen.reads}
    seen = attrs.evolve(seen, replaced={**present, **seen.replaced}, complete=True)
    return tuple(NoteChange(path, contents[path], plan.writes.get(path)) for path in paths), seen


def is_small(
    leased: LeasedMemory, changes: ChangeSet, reads: Sequence[str] = (), seen: SeenNotes = NOTHING_SEEN
) -> bool:
    """Whether committing *changes* costs less than handing it to a thread, which takes some 70 us of CPU.

    A small commit is some 60 system calls; nothing is flushed and no notes are counted, however many there are. The
    notes that are replaced, deleted or were read must be small too, as a version is a hash of the content.
    """
    return (
        not leased.sync
        and len(reads) <= _SMALL_CHANGES
        and len(seen.reads) + len(seen.replaced) <= STEP_NAMES
        and len(changes) <= _SMALL_CHANGES
        and sum(map(len, changes.writes.values())) <= _SMALL_BYTES
        and 0 < leased.cache.folders_of(leased.path) <= _SMALL_FOLDERS
        and _present_bytes(leased, (*changes.writes, *changes.deletes, *reads)) <= _SMALL_BYTES
    )


def _present_bytes(leased: LeasedMemory, paths: Iterable[str]) -> int:
    """The present size of the notes at *paths*."""
    total = 0
    with Folders(leased.root_fd) as folders, contextlib.suppress(OSError):  # the commit itself will raise it
        for path in filter(is_inside, paths):
            status = folders.status(path)
            if status is not None and stat.S_ISREG(status.st_mode):
                total += status.st_size
    return total


def count_if_empty(leased: LeasedMemory) -> None:
    """Cache the sizes of an empty memory, as when it has just been made."""
    try:
        if _fsops.names(leased.root_fd):
            return
        sizes = leased.cache.take(leased.path)
        with Folders(leased.root_fd) as folders:
            sizes.refresh(folders, ())
    except OSError:
        return  # it is counted at the first commit
    leased.cache.put(leased.path, sizes)


def storage_error(leased: LeasedMemory, error: OSError, *, pending: bool = False) -> MemoryStorageError:
    return MemoryStorageError(leased.path, error.errno or 0, error.strerror or str(error), pending)


def _checked_plan(
    leased: LeasedMemory,
    folders: Folders,
    changes: ChangeSet,
    knowledge: Knowledge | None,
    seen: SeenNotes,
    sizes: Sizes,
) -> CommitPlan:
    changes, seen, respelled = under_kept_names(folders, changes, seen)
    try:
        plan = make_plan(folders, changes, respelled)
        if leased.rules is not None:
            check_policy(plan, leased.rules, folders)
        if knowledge is not None:
            knowledge.check(plan, seen)
    finally:  # the model is shown what the block read, even if its changes are refused
        if knowledge is not None:
            for path, version in seen.reads.items():
                if is_inside(path):
                    knowledge.saw(path, version)
    sizes.refresh(folders, plan.touched())
    check_limits(plan, leased.limits, sizes, folders, leased.path, leased.rules)
    if plan:
        check_places(plan, folders)
    return plan


def _contents(plan: CommitPlan, folders: Folders, most_bytes: float) -> dict[str, bytes | None]:
    """The present contents of the notes that the plan changes, None if there is none; without too large ones."""
    contents: dict[str, bytes | None] = {}
    for path in (*plan.deletes, *plan.writes):
        note = plan.before(path)
        if note is None:
            contents[path] = None
        elif note.status.st_size <= most_bytes:
            data = contents[path] = folders.read(path)
            most_bytes -= len(data or b"")
    return contents


def _undo_step(plan: CommitPlan, before: Mapping[str, bytes | None], origin: CommitOrigin) -> UndoStep:
    modes = {path: stat.S_IMODE(found.status.st_mode) for path, found in {**plan.deletes, **plan.replaced}.items()}
    modes |= {folder.path: folder.mode for folder in plan.removed if folder.mode is not None}
    return UndoStep(
        before,
        {path: plan.after.get(path) for path in before},
        tuple(folder.path for folder in plan.made),
        tuple(folder.path for folder in plan.removed),
        modes,
        frozenset(path for path in (*plan.deletes, *plan.writes) if path not in before),
        origin,
    )


def _save(
    leased: LeasedMemory, folders: Folders, plan: CommitPlan, receipt: Receipt | None, origin: CommitOrigin
) -> None:
    """Stage and carry out a plan.

    Raises:
        OSError, MemoryRejectedError, MemoryHistoryError: nothing was changed, or everything was rolled back.
        MemoryStorageError: the disk refused; *pending* if it refused the rollback, too.
    """
    # A deletion leaves no staged file that would show that it did not happen, so with a history it has a record.
    with_record = (
        leased.sync or receipt is not None or len(plan) > 1 or (leased.history is not None and not plan.writes)
    )
    owner = _fsops.fstat(leased.root_fd) if os.geteuid() == 0 else None
    with private_folder(leased.root_fd, make=True) as fd, contextlib.ExitStack() as stack:
        journal: CommitJournal | None = None
        try:
            if leased.history is not None:
                journal = stack.enter_context(open_journal(leased.history, leased.path, fd, owner))
            record = _stage(leased, folders, plan, receipt, fd, owner)
            stamp_now(leased.root_fd)  # if we die after this, every other process sees that something was committed
            if with_record:
                _write_staged(UNFINISHED, _encoded(record, leased.record_bytes), fd, sync=leased.sync)
            row = None if journal is None else journal.row(record.commit, plan, folders, origin)
            if journal is not None and row is not None:
                journal.append(row, sync=leased.sync)
            if with_record:
                _fsops.rename(UNFINISHED, fd, REDO, fd)  # the commit: whoever dies after this has committed
        except (OSError, MemoryLimitError, MemoryHistoryError):
            with contextlib.suppress(OSError):  # else the next lease finds the row, and the files that disprove it
                if journal is not None:
                    journal.take_back()
                remove_private(leased.root_fd, fd)
            raise
        try:
            if with_record and leased.sync:
                _fsops.fsync(fd)
                _fsops.fsync(leased.root_fd)
            try:
                carry_out(record, folders, fd, sync=leased.sync, recorded=with_record)
            except RecordNeededError:
                _write_staged(UNFINISHED, _encoded(record, leased.record_bytes), fd, sync=leased.sync)
                _fsops.rename(UNFINISHED, fd, REDO, fd)
                with_record = True
                carry_out(record, folders, fd, sync=leased.sync)
        except (OSError, StepError, OvertakenError) as error:
            _take_back(leased, folders, record, fd, journal, with_record=with_record)
            raise _refusal(leased, error) from error
        if journal is not None:
            journal.keep()
        with contextlib.suppress(OSError):  # the commit is complete; the next lease removes what remains
            remove_private(leased.root_fd, fd)


def _take_back(
    leased: LeasedMemory,
    folders: Folders,
    record: CommitRecord,
    fd: int,
    journal: CommitJournal | None,
    *,
    with_record: bool,
) -> None:
    try:
        if with_record:  # after a death or an error here, it tells the next lease to roll back
            try:
                _fsops.rename(REDO, fd, UNDO, fd)
            except FileNotFoundError:  # it had become the receipt already
                _fsops.rename(record.receipt, fd, UNDO, fd)
        take_back(record, folders, fd, sync=leased.sync)
        if journal is not None:
            journal.take_back()  # before the files are removed that would disprove it
        tidy(fd)
    except StepError as error:
        raise storage_error(leased, error.error, pending=True) from error
    except OSError as error:
        raise storage_error(leased, error, pending=True) from error
    with contextlib.suppress(OSError):  # an empty folder, which the next lease removes
        remove_private(leased.root_fd, fd)


def _refusal(leased: LeasedMemory, error: OSError | StepError | OvertakenError) -> Exception:
    """The error to raise after everything was rolled back because of *error*."""
    if isinstance(error, OvertakenError):
        return MemoryConflictError((error.path,))
    if isinstance(error, StepError):
        reason = reason_of(error.error)
        if reason is not None:
            return MemoryProtectedError(error.path, reason)
        error = error.error
    return storage_error(leased, error)


def _encoded(record: CommitRecord, most_bytes: int) -> bytes:
    data = record.encode()
    if len(data) > most_bytes:
        raise MemoryLimitError(
            ".", f"{len(record.writes)} notes, and more, are too many to be changed at once; change them in parts"
        )
    return data


def _stage(
    leased: LeasedMemory,
    folders: Folders,
    plan: CommitPlan,
    receipt: Receipt | None,
    fd: int,
    owner: os.stat_result | None,
) -> CommitRecord:
    """Write all new contents to ``.trioagent``."""
    commit_id = os.urandom(4).hex()  # so that leftover files of an earlier commit are in nobody's way
    writes = []
    for number, (path, data) in enumerate(plan.writes.items()):
        found, file = plan.replaced.get(path), f"new-{commit_id}-{number}"
        like, mode = None if found is None else found.status, plan.modes.get(path)
        by_folder = partial(inherit, folders, path) if mode is None else None
        more = by_folder if found is None else partial(keep_attributes, folders, path)
        _write_staged(file, data, fd, sync=leased.sync, like=like, owner=owner, mode=mode, more=more)
        writes.append(StagedWrite(path, file, None if found is None else found.version, plan.after[path]))
    deletes = [
        Deletion(path, f"old-{commit_id}-{len(writes) + number}", found.version)
        for number, (path, found) in enumerate(plan.deletes.items())
    ]
    kept, payload = ("", "") if receipt is None else (receipt.file, base64.b64encode(receipt.payload).decode())
    return CommitRecord(tuple(deletes), plan.removed, plan.made, tuple(writes), kept, payload, commit_id)


def _write_staged(
    file: str,
    data: bytes,
    dir_fd: int,
    *,
    sync: bool,
    like: os.stat_result | None = None,
    owner: os.stat_result | None = None,
    mode: int | None = None,
    more: Callable[[int], None] | None = None,
) -> None:
    """A new file with the permissions (and, for root, the owner) of the note *like*, else *mode*, else the default.

    It is created private, so that nobody can read a private note while it is staged.

    Args:
        more: called with the file's descriptor to set its other attributes.
    """
    if like is not None and stat.S_ISREG(like.st_mode):
        mode = like.st_mode & 0o777
    fd = _fsops.create(file, dir_fd) if mode is None else _fsops.create(file, dir_fd, 0o600)
    try:
        _fsops.write(fd, data)
        if owner is not None:
            give_to(like or owner, fd)
        if mode is not None and mode != 0o600:
            _fsops.chmod(fd, mode)
        if more is not None:
            more(fd)
        if sync:
            _fsops.fsync(fd)
    finally:
        _fsops.close(fd)
