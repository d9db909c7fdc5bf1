"""On a file system that takes several spellings for one name: a commit's changes under the names as stored.

Without this a note that a block wrote as ``ADA.md`` and read as ``Ada.md`` would count as two, and a rename that
changes only the case of a name would delete the note.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .._errors import MemoryLimitError
from ..tools import Version
from ._changes import ChangeSet
from ._file_system import kept_name
from ._knowledge import SeenNotes
from ._paths import DEEPEST, Folders, is_inside, split


def under_kept_names(
    folders: Folders, changes: ChangeSet, seen: SeenNotes
) -> tuple[ChangeSet, SeenNotes, frozenset[str]]:
    """*changes* and *seen* with the names as stored in the memory's folders.

    Returns:
        Both, and the notes to write that only get another spelling of their name: they replace nothing, since the same
        note under its present name is deleted first.

    Raises:
        MemoryLimitError: two notes to write are one note.
    """
    names = _KeptNames(folders)
    paths = (*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs)
    kept = {path: names.of(path) for path in paths if is_inside(path) and path.count("/") <= DEEPEST}
    if all(path == name for path, name in kept.items()):
        return changes, seen, frozenset()
    deletes = frozenset(kept.get(path, path) for path in changes.deletes)
    respelled: set[str] = set()
    writes: dict[str, bytes] = {}
    for path, data in changes.writes.items():
        new = kept.get(path, path)
        if new in deletes and split(new)[1] != split(path)[1]:
            above = split(new)[0]
            new = f"{above}/{split(path)[1]}" if above else path
            respelled.add(new)
        if new in writes:
            raise MemoryLimitError(path, f"is {new!r} to this file system, which is written as well; write only one")
        writes[new] = data
    changes = attrs.evolve(
        changes,
        writes=writes,
        deletes=deletes,
        made_dirs=frozenset(kept.get(path, path) for path in changes.made_dirs),
        removed_dirs=frozenset(kept.get(path, path) for path in changes.removed_dirs),
    )
    renamed = {path: name for path, name in kept.items() if path != name and name not in respelled}
    reads, replaced = _renamed(seen.reads, renamed), _renamed(seen.replaced, renamed)
    return changes, attrs.evolve(seen, reads=reads, replaced=replaced), frozenset(respelled)


def _renamed(versions: Mapping[str, Version | None], names: Mapping[str, str]) -> dict[str, Version | None]:
    """A version seen under the stored name itself takes precedence over one seen under another spelling."""
    new = {names[path]: version for path, version in versions.items() if path in names}
    return {**new, **{path: version for path, version in versions.items() if path not in names}}


class _KeptNames:
    """Resolves names, listing each folder once."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._known = {"": ""}

    def of(self, path: str) -> str:
        known = self._known.get(path)
        if known is None:
            folder, name = split(path)
            above = self.of(folder)
            fd = self._folders.at(above)
            kept = name if fd is None else kept_name(fd, name)
            known = self._known[path] = f"{above}/{kept}" if above else kept
        return known
