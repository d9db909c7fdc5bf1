"""Memories in which some notes belong to another user.

A block runs as one user. As a plain user, its view cannot hold a note of an unmapped owner or group (copy-up fails with
EOVERFLOW; such a group may come from a set-gid folder). As root, it runs as the memory's owner, who may not write
notes of others. For such a memory the view is laid over a private copy, made for one block and removed after it.
"""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
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
    """Decides which memories need a copy. Each is scanned once, and again after :meth:`forget`.

    Args:
        all_ids: blocks run as the memory's owner, whoever that is; otherwise as our own user.
        only_reading: blocks need only read the notes (they write elsewhere).
        place: the folder for copies; by default the one for temporary files.
    """

    def __init__(self, *, all_ids: bool, only_reading: bool = False, place: str | None = None) -> None:
        self._all_ids, self._only_reading, self._place = all_ids, only_reading, place
        self._known: OrderedDict[tuple[int, int], _Need] = OrderedDict()

    def forget(self, root: int) -> None:
        """A block had a permission error: notes of other users may have been added since the scan."""
        self._known.pop(_key(root), None)

    async def needs_copy(self, root: int) -> bool:
        """Must a block's view of this memory be laid over a copy?

        Raises:
            MemoryPathError, MemoryStorageError: the memory cannot be looked through.
        """
        key = _key(root)
        need = self._known.get(key)
        if need is None:
            need = self._known[key] = await _in_thread(root, self._look, root)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return need is _Need.COPY

    @asynccontextmanager
    async def copied(self, root: int, rules: AccessRules = DEFAULT_RULES) -> AsyncIterator[int]:
        """A copy of what *rules* show, to lay the view over; it lasts as long as this.

        Raises:
            SandboxError: on leaving: somebody removed the copy meanwhile.
            MemoryPathError: the memory is too large to be copied, or some notes may not be read.
            MemoryStorageError: the copy cannot be made.
        """
        scratch = Scratch(self._place or tempfile.gettempdir())
        container = view = -1
        try:
            container, view = scratch.make("copy")
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

    def needs_owner(self, root: int) -> bool:
        """Whether a block over this folder, or copy, must run as its owner; otherwise any user may read the notes."""
        return not self._only_reading or self._known.get(_key(root)) is not _Need.NOTHING

    def _look(self, root: int) -> _Need:
        try:
            infos = itertools.chain([os.fstat(root)], itertools.islice(walk(root), MAX_COPY_ENTRIES))
            return self._need_to_read(list(infos)) if self._only_reading else self._need_to_write(infos)
        except TooLarge:
            return _Need.OWNER  # it cannot be copied either

    def _need_to_write(self, infos: Iterable[os.stat_result]) -> _Need:
        top = next(iter(infos))
        uid = top.st_uid if self._all_ids else os.geteuid()
        gid = None if self._all_ids else os.getegid()
        others = any(info.st_uid != uid or (gid is not None and info.st_gid != gid) for info in infos)
        return _Need.COPY if others else _Need.OWNER

    def _need_to_read(self, infos: Sequence[os.stat_result]) -> _Need:
        if not self._all_ids or all(_may_read(info, None) for info in infos):
            return _Need.NOTHING
        return _Need.OWNER if all(_may_read(info, infos[0]) for info in infos) else _Need.COPY


class _Need(Enum):
    """What a block needs to work on a memory: nothing, to run as its owner, or a copy."""

    NOTHING, OWNER, COPY = range(3)


def _may_read(info: os.stat_result, owner: os.stat_result | None) -> bool:
    """Whether *owner*, or anybody (None), may read this note or folder."""
    shift = 0
    if owner is not None:
        shift = 6 if info.st_uid == owner.st_uid else 3 if info.st_gid == owner.st_gid else 0
    wanted = 5 if stat.S_ISDIR(info.st_mode) else 4
    return stat.S_ISLNK(info.st_mode) or info.st_mode >> shift & wanted == wanted


async def _in_thread(root: int, function: Callable[..., T], *arguments: int) -> T:
    try:
        return await trio.to_thread.run_sync(function, *arguments)
    except PermissionError as error:
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryPathError(path, f"{error.filename} in it may not be read; check its owner and mode") from error
    except OSError as error:  # no space for a copy, or the memory is being changed
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
