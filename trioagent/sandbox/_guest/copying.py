"""Copies a memory's folder, within bounds, and removes such copies and other trees, even hostile ones.

It uses descriptors and single names only, never a path: nothing in a tree, however deep or odd, leads out of it.
Standard library only; the host uses it too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from ...tools import DEFAULT_RULES, AccessRules, hidden_part, is_shown
from .limits import MAX_COPY_BYTES, MAX_COPY_ENTRIES, MAX_DEPTH, RESERVED

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class TooLarge(Exception):
    """A tree has more bytes, entries or levels than may be copied for a block."""


def copy_tree(
    source: int,
    target: int,
    owner: tuple[int, int] | None,
    *,
    rules: AccessRules = DEFAULT_RULES,
    max_bytes: int = MAX_COPY_BYTES,
    max_entries: int = MAX_COPY_ENTRIES,
    max_depth: int = MAX_DEPTH,
) -> None:
    """Copy everything below folder *source* to the empty folder *target*; links stay links.

    Devices and the like, hidden names (see `trioagent.tools.hidden_part`), and what *rules* do not show are left out:
    blocks do not see them.

    Args:
        owner: the owner of the copies, if not our own user.

    Raises:
        TooLarge: there is more than may be copied; a part may have been copied.
        OSError: something is not readable, or the disk is full.
    """
    copier = _Copier(owner, rules, max_bytes, max_entries, max_depth)
    if owner is not None:
        os.fchown(target, *owner)
    copier.copy(source, target, "", 0)


class _Copier:
    """Copies folder by folder; only the descriptors of one path are open at a time; the depth bounds the recursion."""

    def __init__(
        self, owner: tuple[int, int] | None, rules: AccessRules, max_bytes: int, max_entries: int, max_depth: int
    ) -> None:
        self.owner, self._rules = owner, rules
        self._max_bytes, self._max_entries, self._max_depth = max_bytes, max_entries, max_depth
        self.count = self.size = 0

    def copy(self, old: int, new: int, prefix: str, depth: int) -> None:
        for name in os.listdir(old):
            if hidden_part(name):
                continue
            info = os.stat(name, dir_fd=old, follow_symlinks=False)
            path = f"{prefix}{name}"
            if not is_shown(path, self._rules, is_folder=stat.S_ISDIR(info.st_mode)):
                continue
            self.count += 1
            self._check(depth)
            if stat.S_ISDIR(info.st_mode):
                os.mkdir(name, 0o700, dir_fd=new)
                self._below(name, old, new, f"{path}/", depth)
            elif stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
            elif stat.S_ISREG(info.st_mode):
                self._file(name, old, new, depth)
            else:
                continue
            if self.owner is not None:
                os.chown(name, *self.owner, dir_fd=new, follow_symlinks=False)

    def _check(self, depth: int) -> None:
        if self.count > self._max_entries or self.size > self._max_bytes or depth > self._max_depth:
            raise TooLarge(
                f"more than {self._max_bytes >> 20} MB, {self._max_entries} files "
                f"or {self._max_depth} levels of folders"
            )

    def _below(self, name: str, old: int, new: int, prefix: str, depth: int) -> None:
        source = os.open(name, FOLDER, dir_fd=old)
        try:
            target = os.open(name, FOLDER, dir_fd=new)
            try:
                self.copy(source, target, prefix, depth + 1)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _file(self, name: str, old: int, new: int, depth: int) -> None:
        """Copy one file. Its size is counted as it is copied, since another process may be writing to it."""
        source = os.open(name, _READ, dir_fd=old)
        try:
            claimed = os.fstat(source).st_size
            self.size += claimed
            self._check(depth)  # before a sparse file of a terabyte is read
            self.size -= claimed
            target = os.open(name, _WRITE, 0o600, dir_fd=new)
            try:
                while chunk := os.read(source, _CHUNK):
                    self.size += len(chunk)
                    self._check(depth)
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[os.write(target, rest) :]
            finally:
                os.close(target)
        finally:
            os.close(source)


def walk(root: int) -> Iterator[os.stat_result]:
    """The stat of everything below *root*, except for the memory's own bookkeeping; entries that vanish are skipped.

    Raises:
        TooLarge: it is nested deeper than MAX_DEPTH.
        PermissionError: a folder is not readable.
    """
    return _walk(root, 0)


def _walk(folder: int, depth: int) -> Iterator[os.stat_result]:
    for name in os.listdir(folder):
        if depth == 0 and name == RESERVED:
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            yield info
            if not stat.S_ISDIR(info.st_mode):
                continue
            if depth == MAX_DEPTH:
                raise TooLarge(f"more than {MAX_DEPTH} levels of folders")
            below = os.open(name, FOLDER, dir_fd=folder)
            try:
                yield from _walk(below, depth + 1)
            finally:
                os.close(below)


def remove_tree(name: str, parent: int) -> None:
    """Remove folder *name* of folder *parent* and everything in it, whatever a block has made of it."""
    for _ in removing_tree(name, parent):
        pass


def removing_tree(name: str, parent: int) -> Iterator[None]:
    """The same, one entry per step.

    It works at any depth: a subfolder is first moved up beside the topmost folder, so that never more than three
    descriptors are open and nothing recurses. So the files of a folder are removed before anything in its subfolders
    (see :mod:`.views`, which depends on this). What cannot be removed is left where it is.
    """
    top, moved = name, 0
    waiting = [name]
    while waiting:
        name = waiting.pop()
        try:
            folder = os.open(name, FOLDER, dir_fd=parent)
        except OSError:
            continue
        try:
            for entry in os.listdir(folder):
                try:
                    os.unlink(entry, dir_fd=folder)
                except IsADirectoryError:
                    moved += 1
                    waiting.append(f"{top}.{moved}")
                    with suppress(OSError):
                        os.chmod(entry, 0o700, dir_fd=folder)  # a block may have created it without permissions
                        os.rename(entry, waiting[-1], src_dir_fd=folder, dst_dir_fd=parent)
                except OSError:
                    pass
                yield
        finally:
            os.close(folder)
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
