"""From what a block did to what a commit has to do: pure reading, no change to the disk.

A change set describes a block's view; the plan is the difference to the memory as it is now. What is the same already
is dropped, folders that notes need are added, and whatever breaks a rule refuses the whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Set

import attrs

from .._config import MemoryLimits
from .._errors import MemoryConflictError, MemoryLimitError
from . import _fsops
from ._changes import ChangeSet
from ._knowledge import Knowledge
from ._paths import Folders, Version, is_inside, parents, split, version_of
from ._sizes import Sizes

_DEEPEST = 128  # whatever the limits are: what lies deeper is not counted either (see `_sizes`)
_PATH_MAX = 4096  # Linux: a longer path cannot be opened by name


@attrs.frozen
class CommitPlan:
    """What a commit does, in this order: deletes, removed, made, writes.

    Attributes:
        deletes: notes to delete, with the state they are in now.
        removed: folders to remove if they are empty then, innermost first.
        made: folders to make, outermost first, with those that only *writes* need.
        writes: notes to write, with their content.
        replaced: of those, the ones that are there now, with their state.
    """

    deletes: Mapping[str, os.stat_result] = attrs.field(factory=dict)
    removed: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    writes: Mapping[str, bytes] = attrs.field(factory=dict)
    replaced: Mapping[str, os.stat_result] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.deletes) + len(self.removed) + len(self.made) + len(self.writes)

    def before(self, path: str) -> os.stat_result | None:
        """The state of a note that the plan changes; None if there is none."""
        return self.deletes.get(path) or self.replaced.get(path)

    def touched(self) -> set[str]:
        """The folders whose entries change."""
        return {split(path)[0] for path in (*self.deletes, *self.removed, *self.made, *self.writes)}

    def deltas(self) -> dict[str, int]:
        """By how many bytes the notes directly in each folder grow."""
        grown: dict[str, int] = {}
        for path in (*self.deletes, *self.writes):
            status, data = self.before(path), self.writes.get(path, b"")
            present = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0
            folder = split(path)[0]
            grown[folder] = grown.get(folder, 0) + len(data) - present
        return grown


def make_plan(folders: Folders, changes: ChangeSet) -> CommitPlan:
    """The difference between *changes* and the memory now.

    Raises:
        MemoryConflictError: something else has come to lie where a note or folder would have to be.
        MemoryLimitError: a path leads out of the memory, or is ours.
    """
    for path in (*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs):
        if not is_inside(path):
            raise MemoryLimitError(
                path, "is not a place for notes; use a path inside the memory, like entities/name.md"
            )
        if path.count("/") > _DEEPEST:
            raise MemoryLimitError(path[:200], f"is more than {_DEEPEST} folders deep; use fewer folders")
    deletes, blocked = {}, set()
    for path in changes.deletes - changes.writes.keys():
        status = folders.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if path not in changes.removed_dirs:
                blocked.add(path)
        elif status is not None:
            deletes[path] = status

    needed = {folder for path in (*changes.writes, *changes.made_dirs) for folder in parents(path)} | changes.made_dirs
    made, removed = set(), set()
    for path in needed:
        if folders.at(path) is None:
            made.add(path)
            if path not in deletes and folders.status(path) is not None:
                blocked.add(path)  # a note, or a symbolic link, lies where the folder would have to be
    for path in changes.removed_dirs - needed:
        if folders.at(path) is not None:
            removed.add(path)

    writes, replaced = {}, {}
    for path, data in changes.writes.items():
        status = folders.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if path not in removed or not _becomes_empty(folders, path, deletes.keys() | removed):
                blocked.add(path)
        elif status is not None:
            if status.st_size == len(data) and stat.S_ISREG(status.st_mode) and folders.read(path, len(data)) == data:
                continue
            replaced[path] = status
        writes[path] = data
    if blocked:
        raise MemoryConflictError(tuple(sorted(blocked)))
    outermost_first = sorted(made)  # a folder's path is a prefix of those inside it
    return CommitPlan(deletes, tuple(sorted(removed, reverse=True)), tuple(outermost_first), writes, replaced)


def _becomes_empty(folders: Folders, path: str, gone: Set[str]) -> bool:
    """Will nothing be left in a folder once the paths in *gone* are?"""
    fd = folders.at(path)
    inside = [f"{path}/{name}" for name in (_fsops.names(fd) if fd is not None else ())]
    return all(item in gone and (folders.at(item) is None or _becomes_empty(folders, item, gone)) for item in inside)


def check_conflicts(plan: CommitPlan, knowledge: Knowledge, read: Iterable[str]) -> None:
    """Refuse a plan that would lose a change its agent has not seen; see :class:`Knowledge` for the rules."""
    current = set(read)
    lost = []
    for path in (*plan.deletes, *plan.writes):
        present: Version | None = version_of(plan.before(path))
        if path not in current and knowledge.is_outdated(path, present):
            lost.append(path)
    if lost:
        raise MemoryConflictError(tuple(sorted(lost)))


def check_limits(plan: CommitPlan, limits: MemoryLimits, sizes: Sizes, root: str) -> None:
    """Refuse a plan that makes anything grow beyond a limit. What is too large already may shrink, and may stay."""
    for path, data in plan.writes.items():
        before = plan.replaced.get(path)
        if before is None:
            _check_names(path, limits, root)
        if len(data) > limits.file_bytes and (before is None or len(data) > before.st_size):
            problem = (
                f"would have {len(data):,} bytes, a note may have {limits.file_bytes:,}; split it into linked notes"
            )
            raise MemoryLimitError(path, problem)
    for path in plan.made:
        _check_names(path + "/x", limits, root)

    growth: dict[str, int] = {}
    for folder, delta in plan.deltas().items():
        for above in {"", *parents(folder), folder}:
            growth[above] = growth.get(above, 0) + delta
    for folder, delta in growth.items():
        allowed = limits.dir_bytes if folder else limits.total_bytes
        total = sizes.totals.get(folder, 0) + delta
        if delta > 0 and total > allowed:
            what = "a folder" if folder else "the whole memory"
            problem = f"would hold {total:,} bytes, {what} may hold {allowed:,}; delete or shorten notes first"
            raise MemoryLimitError(folder or ".", problem)


def check_places(plan: CommitPlan, folders: Folders) -> None:
    """Fail now, not half-way, where a folder may not be changed or lies on another file system.

    Raises:
        OSError: EACCES or EXDEV.
    """
    root = _fsops.fstat(folders.root_fd)
    for folder in sorted(plan.touched()):
        fd = folders.at(folder)
        if fd is None:
            continue  # to be made
        if not _fsops.may_change(fd):
            raise PermissionError(errno.EACCES, f"the folder {folder or '.'!r} may not be written")
        if _fsops.fstat(fd).st_dev != root.st_dev:
            raise OSError(errno.EXDEV, f"the folder {folder!r} lies on another file system than the memory")


def _check_names(path: str, limits: MemoryLimits, root: str) -> None:
    parts = path.split("/")
    if len(parts) - 1 > limits.depth:
        raise MemoryLimitError(path, f"is {len(parts) - 1} folders deep, {limits.depth} are allowed; use fewer folders")
    for part in parts:
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            raise MemoryLimitError(path, "has a name that is not UTF-8 text; choose another name") from None
        if length > 255:
            raise MemoryLimitError(path, f"has a name of {length} bytes, 255 are allowed; choose a shorter one")
        if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in part):
            raise MemoryLimitError(path, "has a control character in its name; choose another name")
    if len(os.fsencode(root)) + 1 + len(path.encode()) >= _PATH_MAX:
        raise MemoryLimitError(path, "is too long a path for this system; use shorter names or fewer folders")
