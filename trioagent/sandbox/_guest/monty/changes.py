"""What a block did to its view, as the host will commit it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .view import MAX_DEPTH, RESERVED, View


def collect(view: View) -> tuple[dict[str, Any], list[bytes]]:
    """The changes as plain data, and the contents of ``writes``, which lists paths and sizes, in the same order.

    A note that was written but is as it was before is no change.
    """
    before = _Before(view)
    writes = {path: data for path, data in sorted(view.written.items()) if not before.has(path, data)}
    deletes: set[str] = set()
    removed: set[str] = set()
    # A folder that is gone may hold others that are; one that was made anew hides all of the old one.
    for path in sorted(view.gone - {RESERVED}):
        for name, is_folder in before.all_at(path):
            if not is_folder and name not in view.written:
                deletes.add(name)
            elif is_folder and name not in view.made:
                removed.add(name)
    made = {path for path in view.made if not before.is_folder(path)}
    index = {
        "writes": [[path, len(data)] for path, data in writes.items()],
        "deletes": sorted(deletes),
        "made_dirs": sorted(made),
        "removed_dirs": sorted(removed),
    }
    return index, list(writes.values())


class _Before:
    """The memory as it is without the block's changes."""

    def __init__(self, view: View) -> None:
        self._memory = View(view._root_fd, file_bytes=0, view_bytes=0, view_files=0)

    def is_folder(self, path: str) -> bool:
        return self._memory.kind(path) == "folder"

    def has(self, path: str, data: bytes) -> bool:
        """Is the note *path* there, with just this content?"""
        try:
            return (
                self._memory.kind(path) == "file"
                and self._memory.size(path) == len(data)
                and self._memory.read(path, len(data) + 1) == data
            )
        except OSError:
            return False

    def all_at(self, path: str) -> Iterator[tuple[str, bool]]:
        """*path* and all below it; True for folders. Nothing if it is not there."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            kind = self._memory.kind(here)
            if not kind:
                continue
            yield here, kind == "folder"
            if kind == "folder" and here.count("/") < MAX_DEPTH:
                with suppress(OSError), self._memory.folder(here) as folder:
                    for entry in folder.scan():
                        name = f"{here}/{entry.name}"
                        is_folder = entry.is_dir(follow_symlinks=False)
                        if is_folder:
                            waiting.append(name)
                        else:
                            yield name, False
