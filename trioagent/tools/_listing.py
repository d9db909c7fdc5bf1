"""The names of a memory's notes, listed on first use, and again only if a folder has changed since."""

from __future__ import annotations

import time

from ._disk import Disk
from ._index import Index, IndexedNames
from .links import Names, NoteIndex

_CLOCK_STEP = 20_000_000
"""Nanoseconds: a folder changed so shortly before it was listed may have changed again with the same timestamp."""


class Listing:
    """Keeps the names of one memory's notes up to date; the block's own code may change files at any time, too."""

    def __init__(self, disk: Disk, index: Index) -> None:
        self._disk, self._host_has = disk, index
        self._index: NoteIndex | None = None
        self._stamps: dict[str, int] = {}
        self._trusted_before = 0

    def index(self) -> Names:
        """The notes as they are now."""
        if self._host_has.usable:
            return IndexedNames(self._host_has.parts(self._disk, contents=False))
        if self._index is None or not self._is_current():
            self._trusted_before = time.time_ns() - _CLOCK_STEP
            self._stamps = {}
            paths: list[str] = []
            for start, folder, names in self._disk.walk():
                self._stamps[start.removesuffix("/")] = folder.changed_ns()
                paths += [start + name for name in names] if start else names
            self._host_has.looked_at(len(paths))
            self._index = NoteIndex(paths)
        return self._index

    def forget(self) -> None:
        """Names have changed."""
        self._index = None

    def _is_current(self) -> bool:
        try:
            for path, stamp in self._stamps.items():
                with self._disk.folder(path) as folder:
                    if stamp >= self._trusted_before or folder.changed_ns() != stamp:
                        return False
        except OSError:
            return False
        return True
