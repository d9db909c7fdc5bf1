"""From a block's changes to the steps of a commit: only reading, no change to the disk.

A change set describes a block's view; the plan is the difference to the memory as it is now. Changes that are in place
already are dropped, folders that notes need are added, and any violation of a rule refuses the whole plan.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Set
from functools import reduce

import attrs

from .._config import MemoryLimits
from .._errors import MemoryConflictError, MemoryLimitError
from ..tools import DEFAULT_RULES, AccessRules, Version, is_hidden, new_name_problem, nfc, usual_forms, version_of
from . import _fsops
from ._changes import ChangeSet
from ._file_system import folded, folds_names
from ._paths import DEEPEST, Folders, is_inside, parents, split
from ._record import FolderChange
from ._sizes import Sizes

_FEW_NAMES = 100
_PATH_MAX = 4096  # Linux: a longer path cannot be opened by name


@attrs.frozen
class PresentNote:
    """A note as it is now."""

    status: os.stat_result
    version: Version


@attrs.frozen
class CommitPlan:
    """What a commit does, in this order: deletes, removed, made, writes.

    Attributes:
        deletes: notes to delete.
        removed: folders to remove if they are empty then, innermost first, with their permissions.
        made: folders to make, outermost first, including those that only *writes* need.
        writes: notes to write, with their content.
        after: the versions of *writes*.
        replaced: of *writes*, the notes that exist now.
        modes: of *writes*, the permissions of new notes that do not get the default ones.
    """

    deletes: Mapping[str, PresentNote] = attrs.field(factory=dict)
    removed: tuple[FolderChange, ...] = ()
    made: tuple[FolderChange, ...] = ()
    writes: Mapping[str, bytes] = attrs.field(factory=dict)
    after: Mapping[str, Version] = attrs.field(factory=dict)
    replaced: Mapping[str, PresentNote] = attrs.field(factory=dict)
    modes: Mapping[str, int] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.deletes) + len(self.removed) + len(self.made) + len(self.writes)

    def before(self, path: str) -> PresentNote | None:
        """The present state of a note that the plan changes; None if it does not exist."""
        return self.deletes.get(path) or self.replaced.get(path)

    def touched(self) -> set[str]:
        """The folders whose entries change."""
        folders = [folder.path for folder in (*self.removed, *self.made)]
        return {split(path)[0] for path in (*self.deletes, *folders, *self.writes)}

    def growth(self) -> dict[str, int]:
        """By how many bytes each note that the plan changes grows; hidden ones do not count."""
        grown: dict[str, int] = {}
        for path in (*self.deletes, *self.writes):
            if not is_hidden(path):
                found, data = self.before(path), self.writes.get(path, b"")
                size = found.status.st_size if found is not None and stat.S_ISREG(found.status.st_mode) else 0
                grown[path] = len(data) - size
        return grown

    def deltas(self) -> dict[str, int]:
        """By how many bytes the notes directly in each folder grow."""
        grown: dict[str, int] = {}
        for path, delta in self.growth().items():
            folder = split(path)[0]
            grown[folder] = grown.get(folder, 0) + delta
        return grown


def make_plan(folders: Folders, changes: ChangeSet, respelled: Set[str] = frozenset()) -> CommitPlan:
    """The difference between *changes* and the memory now.

    Args:
        respelled: of the notes to write, those whose place is taken only by another spelling of their name, which is
            deleted.

    Raises:
        MemoryConflictError: something else is now where a note or folder would have to be.
        MemoryLimitError: a path leads out of the memory, or into our folder.
    """
    for path in (*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs):
        if not is_inside(path):
            raise MemoryLimitError(
                path, "is not a place for notes; use a path inside the memory, like entities/name.md"
            )
        if path.count("/") > DEEPEST:
            raise MemoryLimitError(path[:200], f"is more than {DEEPEST} folders deep; use fewer folders")
    deletes: dict[str, PresentNote] = {}
    blocked: set[str] = set()
    for path in changes.deletes - changes.writes.keys():
        status = folders.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if path not in changes.removed_dirs:
                blocked.add(path)
        elif status is not None:
            present = _present(folders, path, status)
            if present is not None:
                deletes[path] = present

    needed = {folder for path in (*changes.writes, *changes.made_dirs) for folder in parents(path)} | changes.made_dirs
    made: set[str] = set()
    removed: dict[str, int] = {}
    for path in needed:
        if folders.at(path) is None:
            made.add(path)
            if path not in deletes and folders.status(path) is not None:
                blocked.add(path)  # a note, or a symbolic link, is where the folder would have to be
    for path in changes.removed_dirs - needed:
        fd = folders.at(path)
        if fd is not None:
            removed[path] = stat.S_IMODE(_fsops.fstat(fd).st_mode)

    writes: dict[str, bytes] = {}
    after: dict[str, Version] = {}
    replaced: dict[str, PresentNote] = {}
    for path, data in changes.writes.items():
        version = version_of(data)
        status = None if path in respelled else folders.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if path not in removed or not _becomes_empty(folders, path, deletes.keys() | removed.keys()):
                blocked.add(path)
        elif status is not None:
            present = _present(folders, path, status)
            if present is not None:
                if present.version == version:
                    continue
                replaced[path] = present
        writes[path], after[path] = data, version
    if blocked:
        raise MemoryConflictError(tuple(sorted(blocked)))
    # A folder's path is a prefix of those inside it.
    return CommitPlan(
        deletes=deletes,
        removed=tuple(FolderChange(path, removed[path]) for path in sorted(removed, reverse=True)),
        made=tuple(FolderChange(path, _folder_mode(path, changes, removed)) for path in sorted(made)),
        writes=writes,
        after=after,
        replaced=replaced,
        modes=_note_modes(writes.keys() - replaced.keys(), changes, after, deletes),
    )


def _present(folders: Folders, path: str, status: os.stat_result) -> PresentNote | None:
    version = folders.version(path)
    return None if version is None else PresentNote(status, version)


def _note_modes(
    new: Set[str], changes: ChangeSet, after: Mapping[str, Version], deletes: Mapping[str, PresentNote]
) -> dict[str, int]:
    """The permissions of new notes, so that a private note stays private under another name.

    A note that only moved keeps its permissions, without the executable bits, which a new name never gets. If a
    deleted note reappears with changes, it cannot be identified: new notes are then as private as all deleted ones.
    """
    moved = {found.version: found.status.st_mode for found in deletes.values() if stat.S_ISREG(found.status.st_mode)}
    common = reduce(int.__and__, moved.values(), 0o666)
    modes = {}
    for path in new:
        if path in changes.modes:
            modes[path] = changes.modes[path] & 0o777
        elif after[path] in moved:
            modes[path] = moved[after[path]] & 0o666
        elif common & 0o044 != 0o044:
            modes[path] = common & 0o666
    return modes


def _folder_mode(path: str, changes: ChangeSet, removed: Mapping[str, int]) -> int | None:
    """The permissions of a new folder: as private as the folders that are removed, since it may be one of them."""
    if path in changes.modes:
        return changes.modes[path]
    common = reduce(int.__and__, removed.values(), 0o777)
    return None if common & 0o055 == 0o055 else common


def _becomes_empty(folders: Folders, path: str, gone: Set[str]) -> bool:
    """Whether nothing will be left in a folder once the paths in *gone* are removed."""
    fd = folders.at(path)
    inside = [f"{path}/{name}" for name in (_fsops.names(fd) if fd is not None else ())]
    return all(item in gone and (folders.at(item) is None or _becomes_empty(folders, item, gone)) for item in inside)


def check_limits(
    plan: CommitPlan,
    limits: MemoryLimits,
    sizes: Sizes,
    folders: Folders,
    root: str,
    rules: AccessRules | None = None,
) -> None:
    """Refuse a plan that makes anything grow beyond a limit. What is too large already may shrink, and may stay.

    Names that *rules* do not show are left out of the error.
    """
    for path, data in plan.writes.items():
        before = plan.replaced.get(path)
        if before is None:
            _check_names(path, limits, root)
        if len(data) > limits.file_bytes and (before is None or len(data) > before.status.st_size):
            problem = (
                f"would have {len(data):,} bytes, a note may have {limits.file_bytes:,}; "
                "split it into linked notes (the limit is MemoryLimits.file_bytes)"
            )
            raise MemoryLimitError(path, problem)
    for folder in plan.made:
        _check_names(folder.path + "/x", limits, root)
    _check_forms(plan, folders)

    growth: dict[str, int] = {}
    for grown, delta in plan.deltas().items():
        for above in {"", *parents(grown), grown}:
            growth[above] = growth.get(above, 0) + delta
    for grown, delta in growth.items():
        allowed = limits.dir_bytes if grown else limits.total_bytes
        total = sizes.totals.get(grown, 0) + delta
        if delta > 0 and total > allowed:
            what, setting = ("a folder", "dir_bytes") if grown else ("the whole memory", "total_bytes")
            largest = sizes.largest(folders, grown, plan.growth(), DEFAULT_RULES if rules is None else rules)
            problem = (
                f"would hold {total:,} bytes, {what} may hold {allowed:,} (MemoryLimits.{setting}); "
                f"most is taken by {', '.join(f'{path} ({size:,})' for path, size in largest)}; "
                "delete or shorten notes there first"
            )
            raise MemoryLimitError(grown or ".", problem)


def check_new_names(plan: CommitPlan) -> None:
    """Refuse new names that links cannot contain, or that other systems cannot store, whatever call made them.

    A moved note keeps its name.
    """
    folders = [folder.path for folder in plan.made]
    moved = {split(path)[1] for path in (*plan.deletes, *(folder.path for folder in plan.removed))}
    new = [*((path, False) for path in folders), *((path, True) for path in plan.writes if path not in plan.replaced)]
    for path, is_note in new:
        name = split(path)[1]
        problem = "" if name in moved else new_name_problem(name, is_note=is_note)
        if problem:
            raise MemoryLimitError(path, problem)


def _check_forms(plan: CommitPlan, folders: Folders) -> None:
    """Refuse a new name that differs from another only in the form of its accents: people and links see no difference.

    The same for case, if the file system ignores it.

    The tools never create one; a block's own ``open`` and ``os.rename`` may.
    """
    new = [path for path in plan.writes if path not in plan.replaced] + [folder.path for folder in plan.made]
    gone = {*plan.deletes, *(folder.path for folder in plan.removed)}
    taken: dict[str, str] = {}
    as_folded: dict[str, str] = {}
    for path in new:
        if len(new) > 1:
            other = as_folded.setdefault(folded(path), path)
            if nfc(other) != nfc(path) and _folds(folders, path):
                raise MemoryLimitError(path, f"has the same name as {other!r} except for its case; write one of them")
        if path.isascii():
            continue
        other = taken.setdefault(nfc(path), path)
        if other == path:
            forms = (form for form in usual_forms(path)[1:] if form not in gone)
            other = next((form for form in forms if folders.status(form) is not None), path)
        if other != path:
            raise MemoryLimitError(
                path, f"has the same name as {other!r} except for the form of its accents; use that one"
            )


def _folds(folders: Folders, path: str) -> bool:
    """Whether the folder of *path*, or the nearest existing folder above, ignores the case of names."""
    while path:
        path = split(path)[0]
        fd = folders.at(path)
        names = [] if fd is None else _fsops.names(fd)[:_FEW_NAMES]
        if fd is not None and names:
            return any(folds_names(fd, name) for name in names)
    return False


def _check_names(path: str, limits: MemoryLimits, root: str) -> None:
    parts = path.split("/")
    if len(parts) - 1 > limits.depth:
        raise MemoryLimitError(
            path,
            f"is {len(parts) - 1} folders deep, {limits.depth} are allowed (MemoryLimits.depth); use fewer folders",
        )
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
