"""Read what a block did from the upper layer of its dead child's overlay, as plain data.

The layer was written by hostile code: names may be no UTF-8, trees deep, files sparse or special. So: descriptors and
single names only, never a path; no link followed; every bound checked before reading.
"""

from __future__ import annotations

import errno
import os
import stat

from .._errors import MemoryLimitError
from ..memory._changes import ChangeSet

RESERVED = ".trioagent"
MAX_DEPTH = 64
_OPAQUE = "user.overlay.opaque"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking, in case a FIFO takes the file's place (nobody is left to do that; it costs nothing to be sure).
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_changes(upper: int, root: int, *, max_bytes: int) -> ChangeSet:
    """The changes in the layer behind descriptor *upper*, relative to the memory behind descriptor *root*.

    A note that the block opened for writing but left as it was is no change.

    Raises:
        MemoryLimitError: for anything that is not a plain note or folder, or is too deep or too large.
        OSError: the memory itself cannot be read.
    """
    reader = _Reader(max_bytes)
    reader.compare(upper, root, "", 0)
    return ChangeSet(
        writes=reader.writes,
        deletes=frozenset(reader.deletes),
        made_dirs=frozenset(reader.made_dirs),
        removed_dirs=frozenset(reader.removed_dirs),
    )


class _Reader:
    def __init__(self, max_bytes: int) -> None:
        self.writes: dict[str, bytes] = {}
        self.deletes: set[str] = set()
        self.made_dirs: set[str] = set()
        self.removed_dirs: set[str] = set()
        self._left = max_bytes

    def compare(self, upper: int, lower: int | None, prefix: str, depth: int, *, opaque: bool = False) -> None:
        """Book one folder of the upper layer against its counterpart, None if there is none.

        *opaque*: nothing of the counterpart shows through. Recursion is bounded by MAX_DEPTH, which also bounds the
        descriptors that are open at a time.
        """
        if depth > MAX_DEPTH:
            raise MemoryLimitError(prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; make it flatter")
        for name in sorted(os.listdir(upper)):
            path = _join(prefix, name)
            info = os.stat(name, dir_fd=upper, follow_symlinks=False)
            before = _stat(lower, name)
            whiteout = stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
            if path == RESERVED:
                if not whiteout:
                    raise MemoryLimitError(path, "is a reserved name; use another one")
            elif whiteout:
                self._remove(lower, name, path, before, depth)
            elif stat.S_ISDIR(info.st_mode):
                self._folder(upper, lower, name, path, before, depth, opaque)
            elif stat.S_ISREG(info.st_mode):
                self._file(upper, lower, name, path, info, before, depth)
            else:
                raise MemoryLimitError(path, "is not a plain file or folder; a memory holds only those")

    def _folder(
        self,
        upper: int,
        lower: int | None,
        name: str,
        path: str,
        before: os.stat_result | None,
        depth: int,
        opaque: bool,
    ) -> None:
        folder = _open(name, _FOLDER, upper, path)
        try:
            if before is None or not stat.S_ISDIR(before.st_mode):
                if before is not None:
                    self.deletes.add(path)
                self.made_dirs.add(path)
                self.compare(folder, None, path, depth + 1)
                return
            # Deleted and made anew: of the old folder, all the way down, only what is there again is still there.
            opaque = opaque or _is_opaque(folder)
            old = os.open(name, _FOLDER, dir_fd=lower)
            try:
                if opaque:
                    self._remove_contents(old, path, depth + 1, keep=folder)
                self.compare(folder, old, path, depth + 1, opaque=opaque)
            finally:
                os.close(old)
        finally:
            os.close(folder)

    def _file(
        self,
        upper: int,
        lower: int | None,
        name: str,
        path: str,
        info: os.stat_result,
        before: os.stat_result | None,
        depth: int,
    ) -> None:
        if info.st_size > self._left:  # a sparse file may claim any size
            raise MemoryLimitError(path, f"has {info.st_size} bytes, more than one block may write; make it smaller")
        content = _read(name, upper, path, info.st_size)
        self._left -= len(content)
        if before is not None and stat.S_ISREG(before.st_mode):
            if before.st_size == len(content) and _read(name, lower, path, before.st_size) == content:
                return
        elif before is not None and stat.S_ISDIR(before.st_mode):
            self._remove(lower, name, path, before, depth)
        self.writes[path] = content

    def _remove(self, lower: int | None, name: str, path: str, before: os.stat_result | None, depth: int) -> None:
        """Book that *name* of the lower folder, whatever it was, is gone."""
        if before is None:
            return
        if not stat.S_ISDIR(before.st_mode):
            self.deletes.add(path)
            return
        self.removed_dirs.add(path)
        old = os.open(name, _FOLDER, dir_fd=lower)
        try:
            self._remove_contents(old, path, depth + 1, keep=None)
        finally:
            os.close(old)

    def _remove_contents(self, old: int, prefix: str, depth: int, keep: int | None) -> None:
        """Book all in folder *old* as gone, save for names that folder *keep* has: ``compare`` judges those."""
        if depth > MAX_DEPTH:
            raise MemoryLimitError(
                prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; it cannot be removed here"
            )
        kept = set(os.listdir(keep)) if keep is not None else set()
        for name in os.listdir(old):
            if name not in kept:
                info = os.stat(name, dir_fd=old, follow_symlinks=False)
                self._remove(old, name, _join(prefix, name), info, depth)


def _join(prefix: str, name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(name)[:100]
        raise MemoryLimitError(prefix[:200] or ".", f"holds a name that is not UTF-8 ({shown!r}); rename it") from None
    return f"{prefix}/{name}" if prefix else name


def _stat(folder: int | None, name: str) -> os.stat_result | None:
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open(name: str, flags: int, folder: int | None, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        raise MemoryLimitError(
            path, "was made without permission to read it back; make it with the usual mode"
        ) from None


def _read(name: str, folder: int | None, path: str, size: int) -> bytes:
    descriptor = _open(name, _FILE, folder, path)
    with open(descriptor, "rb") as file:
        return file.read(size)


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
