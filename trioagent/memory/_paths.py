"""Paths inside a memory: ``/``-separated, relative to its root, never through a symbolic link."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from ..tools import RESERVED, Version
from . import _fsops

DEEPEST = 128
"""The deepest nesting of folders: whatever the limits are, anything deeper is not counted either (see `_sizes`)."""

_IN_THE_WAY = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def split(path: str) -> tuple[str, str]:
    """The folder of *path* (``""`` is the root) and its last name."""
    folder, _, name = path.rpartition("/")
    return folder, name


def parents(path: str) -> list[str]:
    """Every folder above *path* except the root, outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def is_inside(path: str) -> bool:
    """Whether *path* is normalised, below the root, and not in our folder."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # a lone surrogate: no file can have such a name
        return False
    parts = path.split("/")
    return "\0" not in path and parts[0] != RESERVED and not any(part in ("", ".", "..") for part in parts)


class Folders:
    """Opens the folders of a memory one name at a time, refusing symbolic links at every step.

    Holds one descriptor besides the root's (that of the folder used last), so that the depth of a tree and the
    size of a change set cost no descriptors. Close it after use (``with``).
    """

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd
        self._path, self._fd = "", root_fd

    def __enter__(self) -> Folders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._move("", self.root_fd)

    def at(self, path: str) -> int | None:
        """A descriptor of the folder, valid until the next call; None if it does not exist or is not a real folder."""
        if path == self._path:
            return self._fd
        fd = self.root_fd
        try:
            for name in path.split("/") if path else ():
                deeper = _fsops.open_dir(name, fd)
                if fd != self.root_fd:
                    _fsops.close(fd)
                fd = deeper
        except OSError as error:
            if fd != self.root_fd:
                _fsops.close(fd)
            if error.errno in _IN_THE_WAY:
                return None
            raise
        self._move(path, fd)
        return fd

    def status(self, path: str) -> os.stat_result | None:
        """``lstat``; None if it does not exist, or cannot be reached."""
        folder, name = split(path)
        fd = self.at(folder)
        return None if fd is None else _fsops.lstat(name, fd)

    def version(self, path: str) -> Version | None:
        """The version of the note; None if it does not exist, or cannot be reached."""
        folder, name = split(path)
        fd = self.at(folder)
        return None if fd is None else _fsops.version(name, fd)

    def read(self, path: str, limit: int = _fsops.MAX_READ) -> bytes | None:
        """A note's content; None if it is not a regular file. OSError (EFBIG) if it has more than *limit* bytes."""
        folder, name = split(path)
        fd = self.at(folder)
        return None if fd is None else _fsops.read(name, fd, limit)

    def _move(self, path: str, fd: int) -> None:
        if self._fd != self.root_fd:
            _fsops.close(self._fd)
        self._path, self._fd = path, fd
