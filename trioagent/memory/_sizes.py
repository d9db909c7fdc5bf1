"""The sizes of a memory and its folders, known without reading every note at every commit.

The sizes of a memory are counted once and then cached in this process. Two timestamps tell whether they are valid:

- The root folder's modification time. Every commit by any process ends by setting it to the current nanosecond
  (:meth:`Sizes.seal`), so our value is still there only if no other process has committed since.
  Otherwise each folder whose own modification time has changed is scanned again.
- The same for each folder that a commit touches: this detects notes that other programs have added there.

Processes share their results: the size of a folder is also stored on the folder,
as an extended attribute together with the folder's modification time, and is valid as long as that. On a file system
without extended attributes, a folder that another process changed is counted note by note, about 4 us each.

Hidden files and folders (``.git``, ``.obsidian``) are not part of the memory, and do not count.

So a commit costs the same among 10 notes and 10,000. Two changes are not detected: notes that outside programs
overwrite in place, and notes that they add to folders which no commit touches. So sizes counted more than an hour ago
are counted again when something is saved there. Such an error shifts a limit by that much and has no other effect.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import attrs

from ..tools import AccessRules, is_hidden, is_shown
from . import _fsops
from ._paths import Folders, parents, split

_MAX_FOLDERS = 20_000  # of all memories together, about 1 kB each where a memory has few
_DEEPEST = 128  # blocks cannot nest folders so deep (MemoryLimits.depth); deeper ones of others do not count
_TICK = 20_000_000  # ns; the resolution of the kernel's timestamps
_MAX_AGE = 3600 * 10**9  # ns
_MARK_FORMAT = 2  # 0.1 counted hidden files as well, and left marks without a format number
_MAX_MARK = 3000  # bytes; ext4 has room for 4 KiB of attributes


@attrs.define
class _Folder:
    changed: int = -1  # st_mtime_ns for which the rest is valid; -1: not valid
    counted: int = 0  # when its notes were last counted one by one, ns
    notes: int = 0  # bytes directly in it
    folders: set[str] = attrs.field(factory=set)

    def holds(self, changed: int) -> bool:
        return self.changed == changed and 0 <= time.time_ns() - self.counted < _MAX_AGE

    def leave_mark(self, fd: int) -> None:
        if self.changed == -1:
            return
        data = json.dumps([_MARK_FORMAT, self.changed, self.counted, self.notes, sorted(self.folders)]).encode()
        if len(data) <= _MAX_MARK:
            with suppress(OSError):  # then other processes count for themselves
                _fsops.set_mark(fd, data)

    @classmethod
    def look(cls, fd: int) -> _Folder:
        """The present state of a folder: from its mark if that is valid, else counted."""
        changed = _fsops.fstat(fd).st_mtime_ns
        found = cls._from_mark(_fsops.mark(fd))
        if found is not None and found.holds(changed):
            return found
        now, notes, folders = time.time_ns(), 0, set()
        for name, is_folder, size in _fsops.entries(fd):
            if is_hidden(name):
                continue
            notes += size
            if is_folder:
                folders.add(name)
        # A change within the same tick of the kernel's clock would not show: scan so recent a folder again next time.
        counted_folder = cls(changed if now - changed > _TICK else -1, now, notes, folders)
        counted_folder.leave_mark(fd)
        return counted_folder

    @classmethod
    def _from_mark(cls, mark: bytes) -> _Folder | None:
        """Inverse of :meth:`leave_mark`; None if it is not such a mark: it is data from a disk, perhaps not ours."""
        try:
            marked_as, changed, counted, notes, inside = json.loads(mark)
        except (ValueError, TypeError, RecursionError):
            return None
        numbers = all(type(value) is int for value in (changed, counted, notes))
        if (
            marked_as != _MARK_FORMAT
            or not numbers
            or notes < 0
            or not isinstance(inside, list)
            or not all(map(_is_name, inside))
        ):
            return None
        return cls(changed, counted, notes, set(inside))


@attrs.define
class Sizes:
    """The sizes of one memory; to be used under its lease only."""

    stamp: int = -1
    totals: dict[str, int] = attrs.field(factory=dict)  # with everything inside; "" is the root
    _folders: dict[str, _Folder] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._folders)

    def refresh(self, folders: Folders, touched: Iterable[str]) -> None:
        """Update the sizes, given the folders that a commit is going to touch."""
        fd = folders.at("")
        assert fd is not None
        if not self._folders or _fsops.fstat(fd).st_mtime_ns != self.stamp:
            self.stamp = -1
            for path in dict.fromkeys(["", *self._folders]):
                self._look(folders, path)
            touched = [path for path in touched if path not in self._folders]
        for path in touched:
            if not is_hidden(path):
                self._look(folders, path)

    def apply(self, deltas: dict[str, int], made: Iterable[str], removed: Iterable[str]) -> None:
        """Apply a commit: bytes added or removed directly in each folder, folders made and removed.

        Raises:
            OSError: a folder was missing during `refresh`, and back for the commit: these sizes are not valid.
        """
        for path in removed:
            self._drop(path)
        for path in made:
            if is_hidden(path):
                continue
            if split(path)[0] not in self._folders:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), split(path)[0])
            self._folders.setdefault(path, _Folder(counted=time.time_ns()))
            self.totals.setdefault(path, 0)
            self._folders[split(path)[0]].folders.add(split(path)[1])
        for path, delta in deltas.items():
            if path in self._folders:
                self._add(path, delta)

    def seal(self, folders: Folders, touched: Iterable[str]) -> None:
        """Stamp the folders that a commit changed, so that any later change shows; the root last, and always."""
        for path in sorted({"", *touched}, reverse=True):
            fd = folders.at(path)
            if fd is None:
                continue
            stamp = stamp_now(fd)
            folder = self._folders.get(path)
            if folder is not None:
                folder.changed = stamp
                folder.leave_mark(fd)
            if not path:
                self.stamp = stamp

    def largest(
        self, folders: Folders, path: str, grown: dict[str, int], rules: AccessRules, count: int = 3
    ) -> list[tuple[str, int]]:
        """The largest notes and folders (with a ``/``) directly in a folder, with their bytes.

        Args:
            grown: by how many bytes notes anywhere are going to grow.
            rules: notes that they do not show are left out.
        """
        start = f"{path}/" if path else ""
        known, fd = self._folders.get(path), folders.at(path)
        found = {f"{start}{name}/": self.totals.get(start + name, 0) for name in (known.folders if known else ())}
        if fd is not None:
            inside = _fsops.entries(fd)
            found.update(
                (start + name, size) for name, is_folder, size in inside if not is_folder and not is_hidden(name)
            )
        for note, more in grown.items():
            if note.startswith(start):
                child, deeper, _ = note[len(start) :].partition("/")
                found[start + child + deeper] = found.get(start + child + deeper, 0) + more
        if rules.readable:
            shown = (each for each in found if is_shown(each.rstrip("/"), rules, is_folder=each.endswith("/")))
            found = {each: found[each] for each in shown}
        return sorted(found.items(), key=lambda each: (-each[1], each[0]))[:count]

    def _add(self, path: str, delta: int) -> None:
        self._folders[path].notes += delta
        for above in ("", *parents(path), path) if path else ("",):
            self.totals[above] = self.totals.get(above, 0) + delta

    def _look(self, folders: Folders, path: str) -> None:
        """Update a folder's size, and that of every new folder in it."""
        new = [path]
        while new:
            path = new.pop()
            known = self._folders.get(path)
            fd = folders.at(path)
            if fd is None:
                if known is not None:
                    self._drop(path)
                continue
            if known is not None and known.holds(_fsops.fstat(fd).st_mtime_ns):
                continue
            if known is None:
                known = self._folders[path] = _Folder()
                self.totals.setdefault(path, 0)
            found = _Folder.look(fd)
            self._add(path, found.notes - known.notes)
            for name in known.folders - found.folders:
                self._drop(_join(path, name))
            self._folders[path] = found
            if path.count("/") < _DEEPEST:
                new.extend(_join(path, name) for name in found.folders - known.folders)

    def _drop(self, path: str) -> None:
        stack = [path]
        while stack:
            gone = stack.pop()
            folder = self._folders.pop(gone, None)
            if folder is not None:
                stack.extend(_join(gone, name) for name in folder.folders)
                for above in ("", *parents(gone)):
                    if above in self.totals:
                        self.totals[above] -= folder.notes
            self.totals.pop(gone, None)
        above, name = split(path)
        if above in self._folders:
            self._folders[above].folders.discard(name)


class SizesCache:
    """The sizes of recently used memories, for the whole process."""

    def __init__(self, max_folders: int = _MAX_FOLDERS) -> None:
        self._max_folders = max_folders
        self._kept: OrderedDict[str, Sizes] = OrderedDict()
        self._folders = 0
        self._lock = threading.Lock()  # commits to different memories run in different threads

    def take(self, path: str) -> Sizes:
        """Take the memory's sizes out of the cache, so that sizes that were only half updated are never put back."""
        with self._lock:
            sizes = self._kept.pop(path, None)
            if sizes is None:
                return Sizes()
            self._folders -= len(sizes)
            return sizes

    def folders_of(self, path: str) -> int:
        """For how many of the memory's folders sizes are cached."""
        with self._lock:
            return len(self._kept.get(path, ()))

    def put(self, path: str, sizes: Sizes) -> None:
        with self._lock:
            self._kept[path] = sizes
            self._folders += len(sizes)
            while self._folders > self._max_folders:
                _, oldest = self._kept.popitem(last=False)
                self._folders -= len(oldest)

    @contextmanager
    def kept(self, path: str, root_fd: int) -> Iterator[None]:
        """Keep valid sizes valid across a change of the root folder that changes no note."""
        sizes = self.take(path)
        held = _fsops.fstat(root_fd).st_mtime_ns == sizes.stamp
        yield
        if held:
            with Folders(root_fd) as folders:
                sizes.seal(folders, ())
            self.put(path, sizes)


def stamp_now(fd: int) -> int:
    """Set a folder's modification time to now, in nanoseconds; returns it if the file system stored it, else -1."""
    now = time.time_ns()
    try:
        _fsops.set_times(fd, now, now)
        kept = _fsops.fstat(fd).st_mtime_ns
    except OSError:  # not the folder's owner: only the kernel's own timestamp remains, which is not trusted
        return -1
    return kept if kept == now else -1


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and "\0" not in value


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
