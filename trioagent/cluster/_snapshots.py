"""The content of a memory, for the driver: taken under its lease, and compared with a worker's copy."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b

import attrs

from ..memory import Folders
from ..tools import hidden_part
from ._protocol import CopyChange, name_of_content

MAX_NOTE = 64 * 1024 * 1024  # the limit of a commit, too
_TICK = 20_000_000  # ns; the resolution that the kernel's time stamps may have
_MAX_FILES = 200_000  # whose names are cached, of all memories together; about 0.3 kB each

Stamp = tuple[int, int, int, int]


@attrs.frozen
class _Known:
    stamp: Stamp
    name: str
    mode: int


@attrs.frozen
class Snapshot:
    """A memory's folders, files (the name of their content, and their permissions) and symbolic links (their target).

    Hidden names are not part of it: no block sees them.
    """

    folders: frozenset[str] = frozenset()
    files: Mapping[str, tuple[str, int]] = attrs.field(factory=dict)
    links: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def size(self) -> int:
        return len(self.folders) + len(self.files) + len(self.links)

    def since(self, before: Snapshot | None) -> CopyChange:
        """The changes from *before* (None: no copy, or a broken one) to this."""
        old = Snapshot() if before is None else before
        gone = [path for path in (*old.files, *old.links) if not self._is_same_kind(path, old)]
        return CopyChange(
            fresh=before is None,
            folders=tuple(sorted(self.folders - old.folders)),
            files={path: file for path, file in self.files.items() if old.files.get(path) != file},
            links={path: target for path, target in self.links.items() if old.links.get(path) != target},
            removed=tuple(gone),
            removed_folders=tuple(sorted(old.folders - self.folders, reverse=True)),
        )

    def _is_same_kind(self, path: str, old: Snapshot) -> bool:
        return path in self.files if path in old.files else path in self.links


class TooLargeNoteError(OSError):
    """A file in a memory is too large to be sent to a worker."""


class SnapshotCache:
    """Caches the names of the contents of recently used memories, as long as their files are unchanged.

    A file is read again when its inode, size, permissions or change time differ. A change that shows in none of these
    does no harm: a commit compares the hash of what a block has read with the note itself.
    """

    def __init__(self, max_files: int = _MAX_FILES) -> None:
        self._max_files, self._count = max_files, 0
        self._kept: OrderedDict[tuple[int, int], dict[str, _Known]] = OrderedDict()

    def size_of(self, key: tuple[int, int]) -> int | None:
        """The number of files that the memory had at the last scan; None before the first."""
        known = self._kept.get(key)
        return None if known is None else len(known)

    def take(
        self, key: tuple[int, int], root_fd: int, has: Callable[[str, str], bool]
    ) -> tuple[Snapshot, dict[str, bytes]]:
        """The memory as it is now, and the contents that the worker lacks, by name. It reads files; for any thread.

        Args:
            has: whether the worker has the content with this name (second) for the note at a path (first).

        Raises:
            TooLargeNoteError: a file has more than 64 MiB.
            OSError: a file cannot be read.
        """
        before, after = self._kept.pop(key, {}), dict[str, _Known]()
        self._count -= len(before)
        contents: dict[str, bytes] = {}
        folders: set[str] = set()
        files: dict[str, tuple[str, int]] = {}
        links: dict[str, str] = {}
        waiting = [""]
        with Folders(root_fd) as opened:
            while waiting:
                here = waiting.pop()
                fd = opened.at(here)
                if fd is None:  # removed meanwhile
                    continue
                with os.scandir(fd) as entries:
                    found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
                for name, status in found:
                    if hidden_part(name):
                        continue
                    path = f"{here}/{name}" if here else name
                    if stat.S_ISDIR(status.st_mode):
                        folders.add(path)
                        waiting.append(path)
                    elif stat.S_ISLNK(status.st_mode):
                        links[path] = os.readlink(name, dir_fd=fd)
                    elif stat.S_ISREG(status.st_mode):
                        file = _file(opened, path, status, before.get(path), has, contents)
                        if file is not None:
                            after[path] = file
                            files[path] = file.name, file.mode
                            fd = opened.at(here) or fd
        self._keep(key, after)
        return Snapshot(frozenset(folders), files, links), contents

    def _keep(self, key: tuple[int, int], files: dict[str, _Known]) -> None:
        self._kept[key] = files
        self._count += len(files)
        while self._count > self._max_files and len(self._kept) > 1:
            self._count -= len(self._kept.popitem(last=False)[1])


def _file(
    opened: Folders,
    path: str,
    status: os.stat_result,
    known: _Known | None,
    has: Callable[[str, str], bool],
    contents: dict[str, bytes],
) -> _Known | None:
    stamp = status.st_ino, status.st_size, status.st_ctime_ns, status.st_mode
    if known is not None and known.stamp == stamp and (known.name in contents or has(path, known.name)):
        return known
    try:
        data = opened.read(path, MAX_NOTE)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise TooLargeNoteError(
                errno.EFBIG, f"has more than {MAX_NOTE // 2**20} MiB, too much to be sent to a worker", path
            ) from error
        raise
    if data is None:  # removed meanwhile
        return None
    mode = stat.S_IMODE(status.st_mode) | stat.S_IRUSR
    name = name_of_content(blake2b(data, digest_size=16).hexdigest(), mode)
    if not has(path, name):
        contents[name] = data
    # A change within the same tick of the kernel's clock would not show: a file that recent is read again next time.
    young = time.time_ns() - status.st_ctime_ns < _TICK
    return _Known((0, 0, 0, 0) if young else stamp, name, mode)
