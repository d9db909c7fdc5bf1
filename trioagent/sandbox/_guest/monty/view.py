"""A private view of one memory: the block's changes are kept here, everything else is read from the memory's folder.

It costs the same for ten notes and for ten thousand, and the folder itself is never written. The tools see a folder
like any other (:class:`View` is a :class:`Disk`), the block's own ``open`` and ``os`` go through the same methods.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn, cast

from ....tools import DEFAULT_RULES, AccessRules, Disk, Folder, hidden_part, is_shown
from ..limits import MAX_DEPTH, RESERVED, is_reserved


class Entry:
    """One name of a folder, with as much of :class:`os.DirEntry` as the tools use."""

    __slots__ = ("_is_dir", "name")

    def __init__(self, name: str, is_dir: bool) -> None:
        self.name, self._is_dir = name, is_dir

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._is_dir

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not self._is_dir

    def is_symlink(self) -> bool:
        return False


class View(Disk):
    """The view of the folder behind descriptor *root*, or of an empty one, as far as *rules* show it.

    Attributes:
        written: the content of each written note.
        made: folders that were created.
        gone: notes and folders of the memory that no longer show through, nor does anything below them.
    """

    def __init__(
        self, root: int | None, rules: AccessRules = DEFAULT_RULES, *, file_bytes: int, view_bytes: int, view_files: int
    ) -> None:
        super().__init__("/")
        self._root_fd, self.rules = root, rules
        self._file_bytes, self._left, self._entries_left = file_bytes, view_bytes, view_files
        self.written: dict[str, bytes] = {}
        self.made: set[str] = set()
        self.gone: set[str] = {RESERVED}
        self._names: dict[str, set[str]] = {}
        self.stamps: dict[str, int] = {}

    def _open_root(self) -> Folder:
        return ViewFolder(self, "", self.open_memory())

    def open_memory(self) -> Folder | None:
        """The memory's own folder, without the block's changes."""
        if self._root_fd is None:
            return None
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return Folder(os.open(".", flags, dir_fd=self._root_fd), "")

    def names(self, folder: str) -> set[str]:
        """The names in *folder* that were written or created."""
        return self._names.get(folder, set())

    def put(self, path: str, data: bytes) -> None:
        """Keep *data* as the content of the note *path*."""
        if len(data) > self._file_bytes:
            fail(errno.EFBIG, path)
        old = self.written.get(path)
        self._spend(path, len(data) - (len(old) if old is not None else 0), new=old is None)
        self.written[path] = data
        self._appears(path)

    def put_folder(self, path: str) -> None:
        self._spend(path, 0, new=True)
        self.made.add(path)
        self._appears(path)

    def drop(self, path: str, *, in_memory: bool) -> None:
        """The note or empty folder *path* is gone; *in_memory*: the memory has something of that name."""
        old = self.written.pop(path, None)
        if old is not None:
            self._left += len(old)
        self.made.discard(path)
        if in_memory and path not in self.gone:
            self._spend(path, 0, new=True)
            self.gone.add(path)
        folder, _, name = path.rpartition("/")
        self._names.get(folder, set()).discard(name)
        self.stamps[folder] = time.time_ns()

    def _spend(self, path: str, size: int, *, new: bool) -> None:
        if size > self._left or (new and self._entries_left <= 0):
            fail(errno.ENOSPC, path)
        self._left -= size
        self._entries_left -= new

    def _appears(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        self._names.setdefault(folder, set()).add(name)
        self.stamps[folder] = time.time_ns()


class ViewFolder(Folder):
    """One folder of a view. *lower* is its counterpart in the memory, if that shows through."""

    __slots__ = ("_lower", "_start", "_view", "path")

    def __init__(self, view: View, path: str, lower: Folder | None) -> None:
        super().__init__(None, path)
        self._view, self.path, self._lower = view, path, lower
        self._start = f"{path}/" if path else ""

    def _beneath(self, name: str) -> Folder | None:
        """The memory's folder in which to look for *name*, None if nothing of that name shows through."""
        if self._lower is None or hidden_part(name) or self._start + name in self._view.gone:
            return None
        return self._lower if not self._view.rules.readable or self._is_shown(self._lower, name) else None

    def _is_shown(self, lower: Folder, name: str) -> bool:
        try:
            is_folder = stat.S_ISDIR(lower.stat(name).st_mode)
        except OSError:
            return False
        return is_shown(self._start + name, self._view.rules, is_folder=is_folder)

    def enter(self, name: str) -> ViewFolder:
        path = self._start + name
        if path in self._view.written:
            fail(errno.ENOTDIR, name)
        if path in self._view.made:
            return ViewFolder(self._view, path, None)
        lower = self._beneath(name)
        if lower is None:
            fail(errno.ENOENT, name)
        return ViewFolder(self._view, path, lower.enter(name))

    def close(self) -> None:
        if self._lower is not None:
            self._lower.close()

    def stat(self, name: str) -> os.stat_result:
        path = self._start + name
        content = self._view.written.get(path)
        if content is not None:
            return plain_stat(stat.S_IFREG | 0o644, len(content))
        if path in self._view.made:
            return plain_stat(stat.S_IFDIR | 0o755, 0)
        lower = self._beneath(name)
        if lower is None:
            fail(errno.ENOENT, name)
        return lower.stat(name)

    def scan(self) -> list[os.DirEntry[str]]:
        own = self._view.names(self.path)
        found: list[os.DirEntry[str]] = []
        if self._lower is not None:
            found = [
                entry
                for entry in self._lower.scan()
                if entry.name not in own
                and not hidden_part(entry.name)
                and is_shown(self._start + entry.name, self._view.rules, is_folder=entry.is_dir(follow_symlinks=False))
                and self._start + entry.name not in self._view.gone
            ]
        added = [Entry(name, self._start + name in self._view.made) for name in sorted(own)]
        return found + cast("list[os.DirEntry[str]]", added)

    def read(self, name: str, limit: int) -> bytes:
        path = self._start + name
        content = self._view.written.get(path)
        if content is not None:
            return content[:limit]
        if path in self._view.made:
            fail(errno.EISDIR, name)
        lower = self._beneath(name)
        if lower is None:
            fail(errno.ENOENT, name)
        return lower.read(name, limit)

    def contents(self, names: Iterable[str], limit: int) -> Iterator[tuple[str, bytes]]:
        own = self._view.names(self.path)
        if not own and self._lower is not None:
            yield from self._lower.contents(names, limit)  # whoever lists names leaves out those that are gone
            return
        for name in names:
            if name in own:
                yield name, self._view.written[self._start + name][:limit]
            elif self._lower is not None:
                yield from self._lower.contents([name], limit)

    def changed_ns(self) -> int:
        own = self._view.stamps.get(self.path, 0)
        return own if self._lower is None else max(own, self._lower.changed_ns())

    def write(self, name: str, data: bytes) -> None:
        self._check(name)
        with suppress(FileNotFoundError):
            mode = self.stat(name).st_mode
            if not stat.S_ISREG(mode):
                fail(errno.EISDIR if stat.S_ISDIR(mode) else errno.ELOOP, name)
        self._view.put(self._start + name, data)

    def make_folder(self, name: str) -> None:
        self._check(name)
        with suppress(FileNotFoundError):
            self.stat(name)
            fail(errno.EEXIST, name)
        if self._start.count("/") >= MAX_DEPTH:
            fail(errno.ENAMETOOLONG, name)
        self._view.put_folder(self._start + name)

    def remove(self, name: str) -> None:
        self._check(name)
        if stat.S_ISDIR(self.stat(name).st_mode):
            fail(errno.EISDIR, name)
        self._view.drop(self._start + name, in_memory=self._in_memory(name))

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        self._check(name)
        inner = self.enter(name)
        try:
            if inner.scan():
                fail(errno.ENOTEMPTY, name)
        finally:
            inner.close()
        self._view.drop(self._start + name, in_memory=self._in_memory(name))

    def _in_memory(self, name: str) -> bool:
        lower = self._beneath(name)
        if lower is None:
            return False
        with suppress(FileNotFoundError):
            lower.stat(name)
            return True
        return False

    def _check(self, name: str) -> None:
        """Refuse a name that no note can be saved under."""
        if hidden_part(name) or (not self.path and is_reserved(name)):
            fail(errno.EACCES, name)
        try:
            encoded = name.encode()
        except UnicodeEncodeError:
            fail(errno.EILSEQ, name)
        if len(encoded) > 255:
            fail(errno.ENAMETOOLONG, name)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            fail(errno.EINVAL, name)


def fail(number: int, name: str) -> NoReturn:
    raise OSError(number, os.strerror(number), name)


def plain_stat(mode: int, size: int) -> os.stat_result:
    now = int(time.time())
    return os.stat_result((mode, 0, 0, 1, 0, 0, size, now, now, now))


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
        """Is the note *path* there, with just this name and content?"""
        try:
            return (
                self._memory.locate(path) == (path, "file")
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
