"""Memories in which some notes belong to someone else.

A block runs as one user. As a plain user its view cannot hold a note of an unmapped owner or group (copying it up fails
with EOVERFLOW: a group may come from a set-gid folder); as root it runs as the memory's owner, who may not write notes
of others. For such a memory the view is laid over a private copy, made for that one block and removed after it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from .._errors import MemoryPathError

T = TypeVar("T")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEMBERED = 10_000
_RESERVED = ".trioagent"
MAX_BYTES, MAX_ENTRIES, MAX_DEPTH = 128 * 1024 * 1024, 100_000, 64


class Foreigners:
    """Knows which memories need a copy. Each is looked through once, and again after :meth:`forget`."""

    def __init__(self, *, all_ids: bool) -> None:
        self._all_ids = all_ids
        self._known: OrderedDict[tuple[int, int], bool] = OrderedDict()

    def forget(self, root: int) -> None:
        """A block met a permission error: notes of others may have come in since the memory was looked through."""
        self._known.pop(_key(root), None)

    @asynccontextmanager
    async def lower(self, root: int) -> AsyncIterator[int]:
        """The folder to lay the view over: *root* itself, or a copy that lasts as long as this.

        Raises:
            MemoryPathError: a copy is needed, and the memory is too large for one, or some notes may not be read.
        """
        key = _key(root)
        if key not in self._known:
            self._known[key] = await _in_thread(root, self._has_others, root)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if not self._known.get(key):
            yield root
            return
        folder = tempfile.mkdtemp(prefix="trioagent-view-")
        copy = os.open(folder, _FOLDER)
        try:
            await _in_thread(root, _copy, root, copy)
            yield copy
        finally:
            os.close(copy)
            with trio.CancelScope(shield=True):  # bounded by the copy's size
                await trio.to_thread.run_sync(shutil.rmtree, folder)

    def _has_others(self, root: int) -> bool:
        uid = os.fstat(root).st_uid if self._all_ids else os.geteuid()
        gid = None if self._all_ids else os.getegid()
        return any(info.st_uid != uid or (gid is not None and info.st_gid != gid) for _, info, _ in _walk(root))


async def _in_thread(root: int, function: Callable[..., T], *arguments: int) -> T:
    try:
        return await trio.to_thread.run_sync(function, *arguments)
    except PermissionError as error:
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryPathError(path, f"{error.filename} in it may not be read; check its owner and mode") from error


def _key(root: int) -> tuple[int, int]:
    info = os.fstat(root)
    return info.st_dev, info.st_ino


def _walk(root: int) -> list[tuple[str, os.stat_result, str | None]]:
    """All that is below *root*, folders before their contents: path, stat, and where a symbolic link leads."""
    found: list[tuple[str, os.stat_result, str | None]] = []
    stack = [("", os.dup(root), 0)]
    try:
        while stack:
            prefix, folder, depth = stack.pop()
            try:
                for name in os.listdir(folder):
                    path = f"{prefix}{name}"
                    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    link = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(info.st_mode) else None
                    if path == _RESERVED:
                        continue
                    found.append((path, info, link))
                    if stat.S_ISDIR(info.st_mode) and depth < MAX_DEPTH and len(found) < MAX_ENTRIES:
                        stack.append((f"{path}/", os.open(name, _FOLDER, dir_fd=folder), depth + 1))
            finally:
                os.close(folder)
    finally:
        for _, folder, _ in stack:
            os.close(folder)
    return found


def _copy(root: int, copy: int) -> None:
    """Copy all below *root* to the empty folder *copy*, as the owner of *root*; links stay links."""
    owner = os.fstat(root)
    entries = _walk(root)
    size = sum(info.st_size for _, info, _ in entries if stat.S_ISREG(info.st_mode))
    if size > MAX_BYTES or len(entries) >= MAX_ENTRIES:
        raise MemoryPathError(
            os.readlink(f"/proc/self/fd/{root}"),
            "its notes belong to several users, and it is too large to copy for each block; chown -R it to one",
        )
    chown = os.geteuid() == 0
    if chown:
        os.fchown(copy, owner.st_uid, owner.st_gid)
    for path, info, link in entries:
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(path, 0o700, dir_fd=copy)
        elif link is not None:
            os.symlink(link, path, dir_fd=copy)
        elif stat.S_ISREG(info.st_mode):
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
            with open(source, "rb") as old:
                target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=copy)
                with open(target, "wb") as new:
                    shutil.copyfileobj(old, new)
        else:
            continue
        if chown:
            os.chown(path, owner.st_uid, owner.st_gid, dir_fd=copy, follow_symlinks=False)
