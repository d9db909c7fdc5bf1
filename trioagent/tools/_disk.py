"""The memory's files, opened so that nothing outside the memory can be reached, wherever its folder is.

Every folder on the way to a note is opened from the one above it without following symbolic links, so neither ``..``
nor a link, nor a folder swapped for a link at the wrong moment, leads out. If the platform cannot open relative to a
folder (Windows), each step is checked by its path instead.
"""

from __future__ import annotations

import errno
import os
import stat
import string
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ._names import nfc
from ._paths import MAX_DEPTH
from ._results import Refused
from ._version import MAX_HASHED, Version, version_of

MAX_BYTES = 16 * 1024 * 1024
"""The largest note that is changed in place; the limit for saved notes is much lower."""

BY_FD = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
"""Whether the platform can open relative to a folder."""

_PLAIN = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not stall the tool
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_READ = os.O_RDONLY | _PLAIN
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _PLAIN
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _PLAIN
_CHUNK = 16 * 1024
_TEMPORARY = ".trioagent-new"
_OTHER_CASE = {ord(char): char.swapcase() for char in string.ascii_letters}

Kind = str
"""``"file"``, ``"folder"``, ``"other"`` (a link, socket, device) or ``""`` (does not exist)."""


class Folder:
    """One open folder of the memory; names given to its methods are single path components. A context manager."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int | None, path: str) -> None:
        self._fd, self._path = fd, path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, name: str) -> str:
        if self._fd is not None:
            return name
        full = os.path.join(self._path, name)
        if ":" in name or os.path.dirname(full) != self._path:
            raise Refused(f"{name!r} cannot be a file's name here; choose another")
        if os.path.islink(full):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return full

    def enter(self, name: str) -> Folder:
        """Open a folder in this one; ``close`` it."""
        if self._fd is not None:
            return Folder(os.open(name, _FOLDER, dir_fd=self._fd), "")
        full = self._at(name)
        if not os.path.isdir(full):
            missing = not os.path.lexists(full)
            number = errno.ENOENT if missing else errno.ENOTDIR
            raise OSError(number, os.strerror(number), name)
        return Folder(None, full)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)

    def kept_name(self, name: str) -> str:
        """The name as stored on the disk of the entry that *name* opens: they may differ if case is ignored."""
        other = name.translate(_OTHER_CASE)
        if other == name:
            return name
        try:
            same = os.path.samestat(self.stat(other), self.stat(name))
        except OSError:
            return name  # case matters
        if not same:
            return name
        names = [entry.name for entry in self.scan()]
        key = nfc(name).casefold()
        return name if name in names else next((each for each in names if nfc(each).casefold() == key), name)

    def scan(self) -> list[os.DirEntry[str]]:
        """The folder's entries; use only their ``name`` and type, not their ``path``."""
        with os.scandir(self._path if self._fd is None else self._fd) as entries:
            return list(entries)

    def read(self, name: str, limit: int) -> bytes:
        """At most *limit* bytes of a plain file."""
        fd = os.open(self._at(name), _READ, dir_fd=self._fd)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise Refused(f"{name} is not a plain file")
            # One read is usually enough: the size is known, and a second read only confirms the end.
            data = os.read(fd, min(limit, info.st_size + 1))
            while data and len(data) < limit:
                more = os.read(fd, min(_CHUNK, limit - len(data)))  # usually empty, so the buffer is small
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(fd)

    def contents(self, names: Iterable[str], limit: int) -> Iterator[tuple[str, bytes]]:
        """Name and content, at most *limit* bytes, of those of *names* that can be read."""
        for name in names:
            try:
                fd = os.open(self._at(name), _READ, dir_fd=self._fd)
            except OSError:
                continue
            try:
                data = os.read(fd, _CHUNK)
                if len(data) == _CHUNK:
                    data += os.read(fd, max(0, limit - _CHUNK))
            except OSError:
                continue
            finally:
                os.close(fd)
            yield name, data

    def changed_ns(self) -> int:
        """When the folder's list of names last changed."""
        return os.stat(self._path if self._fd is None else self._fd).st_mtime_ns

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically. If that fails, the old content is still there, and no temporary file."""
        try:
            mode = self.stat(name).st_mode & 0o777
            target = _TEMPORARY  # not in place: a full disk must not leave half a note
        except FileNotFoundError:
            mode, target = 0o666, name
        fd = os.open(self._at(target), _WRITE, mode, dir_fd=self._fd)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            if target != name:
                os.replace(self._at(target), self._at(name), src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(self._at(target), dir_fd=self._fd)
            raise

    def make_folder(self, name: str) -> None:
        os.mkdir(self._at(name), dir_fd=self._fd)

    def remove(self, name: str) -> None:
        os.unlink(self._at(name), dir_fd=self._fd)


class Disk:
    """A memory's folder. Paths are relative and normalised (see :mod:`_paths`), ``""`` is the folder itself.

    Args:
        by_fd: open folders and notes relative to the folder above, and do not check each step by its path.
    """

    def __init__(self, root: str, *, by_fd: bool = BY_FD) -> None:
        self._root, self._by_fd = os.path.abspath(root), by_fd

    def folder(self, path: str, make: bool = False) -> Folder:
        """Open the folder *path*, after making it and its parents if *make*; for a ``with`` statement."""
        here = self._open_root()
        try:
            for name in path.split("/") if path else ():
                if make:
                    with suppress(FileExistsError):
                        here.make_folder(name)
                inner = here.enter(name)
                here.close()
                here = inner
        except BaseException:
            here.close()
            raise
        return here

    def _open_root(self) -> Folder:
        fd = os.open(self._root, _FOLDER & ~getattr(os, "O_NOFOLLOW", 0)) if self._by_fd else None
        return Folder(fd, self._root)

    def kind(self, path: str) -> Kind:
        """What is at *path*."""
        return self.locate(path)[1]

    def locate(self, path: str) -> tuple[str, Kind]:
        """The kind of entry at *path*, and its path as stored on the disk, which differs if case is ignored."""
        if not path:
            return path, "folder"
        kept: list[str] = []
        *folders, last = path.split("/")
        here = self._open_root()
        try:
            for name in folders:
                kept.append(here.kept_name(name))
                inner = here.enter(name)
                here.close()
                here = inner
            mode = here.stat(last).st_mode
            kept.append(here.kept_name(last))
        except (FileNotFoundError, NotADirectoryError):
            return path, ""
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                return path, ""
            raise
        finally:
            here.close()
        return "/".join(kept), "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """At most *limit* bytes of the note at *path*."""
        parent, _, name = path.rpartition("/")
        with self.folder(parent) as folder:
            return folder.read(name, limit)

    def version(self, path: str) -> Version | None:
        """The version of the file at *path*; None if there is none."""
        try:
            data = self.read(path, MAX_HASHED + 1)
            return version_of(data) if len(data) <= MAX_HASHED else f"large-{self.size(path)}"
        except (FileNotFoundError, NotADirectoryError):
            return None

    def contents(self, paths: Iterable[str], limit: int) -> Iterator[tuple[str, bytes]]:
        """Path and content, at most *limit* bytes, of those of *paths* that can be read; each folder is opened once."""
        by_folder: dict[str, list[str]] = {}
        for path in paths:
            parent, _, name = path.rpartition("/")
            by_folder.setdefault(parent, []).append(name)
        for parent, names in by_folder.items():
            try:
                with self.folder(parent) as folder:
                    for name, data in folder.contents(names, limit):
                        yield f"{parent}/{name}" if parent else name, data
            except OSError:
                continue

    def size(self, path: str) -> int:
        """Bytes of the file at *path*."""
        parent, _, name = path.rpartition("/")
        with self.folder(parent) as folder:
            return folder.stat(name).st_size

    def write(self, path: str, data: bytes) -> None:
        """Write the note at *path* atomically, making its folders."""
        parent, _, name = path.rpartition("/")
        with self.folder(parent, make=True) as folder:
            folder.write(name, data)

    def remove(self, path: str) -> None:
        """Delete the note at *path*."""
        parent, _, name = path.rpartition("/")
        with self.folder(parent) as folder:
            folder.remove(name)

    def walk(self, path: str = "") -> Iterator[tuple[str, Folder, list[str]]]:
        """Each folder from *path* down: its path with a ``/`` at the end (``""`` for the memory), itself, its files.

        Hidden files and folders are left out. A folder that cannot be opened is skipped, unless it is *path*
        itself. Links are never followed.
        """
        waiting = [path]
        while waiting:
            here = waiting.pop()
            start = f"{here}/" if here else ""
            try:
                with self.folder(here) as folder:
                    files = []
                    for entry in folder.scan():
                        name = entry.name
                        if name.startswith("."):
                            continue
                        if entry.is_file(follow_symlinks=False):
                            files.append(name)
                        elif entry.is_dir(follow_symlinks=False) and here.count("/") < MAX_DEPTH - 1:
                            waiting.append(start + name)
                    yield start, folder, files
            except OSError:
                if here == path:
                    raise

    def files(self, path: str = "") -> list[str]:
        """All files below *path* that are not hidden, sorted."""
        found = [start + name for start, _, names in self.walk(path) for name in names]
        found.sort()
        return found
