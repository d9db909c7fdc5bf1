"""Memories in which some notes belong to someone else.

A block runs as one user. As a plain user its view cannot hold a note of an unmapped owner or group (copying it up fails
with EOVERFLOW: a group may come from a set-gid folder); as root it runs as the memory's owner, who may not write notes
of others. For such a memory the view is laid over a private copy, made for that one block and removed after it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

from .._errors import MemoryPathError, MemoryStorageError, SandboxError
from ..tools import DEFAULT_RULES, AccessRules
from ._guest.copying import TooLarge, copy_tree, walk
from ._guest.limits import MAX_COPY_ENTRIES
from ._guest.views import Scratch, is_intact

T = TypeVar("T")

_REMEMBERED = 10_000


class MixedOwnership:
    """Which memories need a copy. Each is walked once, and again after :meth:`forget`.

    Args:
        all_ids: blocks run as the memory's owner, whoever that is; else as our own user.
        place: the folder for copies, if not the one for temporary files.
    """

    def __init__(self, *, all_ids: bool, place: str | None = None) -> None:
        self._all_ids, self._place = all_ids, place
        self._known: OrderedDict[tuple[int, int], bool] = OrderedDict()

    def forget(self, root: int) -> None:
        """A block met a permission error: notes of others may have come in since the memory was scanned."""
        self._known.pop(_key(root), None)

    @asynccontextmanager
    async def lower(self, root: int, rules: AccessRules = DEFAULT_RULES, *, copy: bool = False) -> AsyncIterator[int]:
        """The folder to lay the view over: *root* itself, or a copy that lasts as long as this.

        Args:
            rules: what a copy holds.
            copy: make one, whoever owns the notes.

        Raises:
            SandboxError: on leaving: somebody removed the copy meanwhile.
            MemoryPathError: a copy is needed, and the memory is too large for one, or some notes may not be read.
            MemoryStorageError: the copy cannot be made.
        """
        key = _key(root)
        if not copy and key not in self._known:
            self._known[key] = await _in_thread(root, self._has_others, root)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if not copy and not self._known.get(key):
            yield root
            return
        scratch = Scratch(self._place or tempfile.gettempdir())
        container = view = -1
        try:
            container, view, _ = scratch.make("copy")
            await _in_thread(root, partial(_copy, rules), root, view)
            yield view
            if not is_intact(container):  # what the block saw was not the memory
                raise SandboxError("the copy of a memory was removed while a block ran over it; nothing was saved")
        finally:
            for descriptor in (container, view):
                if descriptor >= 0:
                    os.close(descriptor)
            with trio.CancelScope(shield=True):  # bounded by the copy's size
                await trio.to_thread.run_sync(scratch.remove)
            os.close(scratch.folder)

    def _has_others(self, root: int) -> bool:
        uid = os.fstat(root).st_uid if self._all_ids else os.geteuid()
        gid = None if self._all_ids else os.getegid()
        try:
            entries = itertools.islice(walk(root), MAX_COPY_ENTRIES)
            return any(info.st_uid != uid or (gid is not None and info.st_gid != gid) for info in entries)
        except TooLarge:
            return False  # nor could it be copied


async def _in_thread(root: int, function: Callable[..., T], *arguments: int) -> T:
    try:
        return await trio.to_thread.run_sync(function, *arguments)
    except PermissionError as error:
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryPathError(path, f"{error.filename} in it may not be read; check its owner and mode") from error
    except OSError as error:  # no room for a copy, or somebody changes the memory meanwhile
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryStorageError(path, error.errno or 0, error.strerror or str(error)) from error


def _key(root: int) -> tuple[int, int]:
    info = os.fstat(root)
    return info.st_dev, info.st_ino


def _copy(rules: AccessRules, root: int, copy: int) -> None:
    """Copy what *rules* show below *root* to the empty folder *copy*, as the owner of *root*."""
    owner = os.fstat(root)
    try:
        copy_tree(root, copy, (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None, rules=rules)
    except TooLarge as error:
        raise MemoryPathError(
            os.readlink(f"/proc/self/fd/{root}"),
            f"its notes belong to several users, or it has too many hidden names to leave out one by one, and it holds "
            f"{error}, too much to copy for each block; chown -R it to one user, or move the hidden files away",
        ) from None
