"""Which names in a memory are hidden, so that blocks can be given a view without them: at a cost that stays the same.

A small memory is looked through before each block. A larger one is looked through once and watched from then on, so
that a block pays for one read of an empty queue, however many notes there are.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

import trio

from ..memory import Folders
from ..tools import hidden_part
from ._indexes import Watch

_FEW = 200  # files and folders: looking at them takes less than 0.1 ms
MAX_HIDDEN, _HIDDEN_CHARS = 256, 20_000  # hidden names in a setup request, which must find room in its socket at once
_WATCHED = 8  # memories; each takes two descriptors
_MAX_FOLDERS = 4096  # of one of them; each takes a watch

Key = tuple[int, int]


class HiddenNames:
    """The hidden names of the memories that one sandbox runs blocks over."""

    def __init__(self) -> None:
        self._watches: OrderedDict[Key, Watch] = OrderedDict()

    def close(self) -> None:
        while self._watches:
            self._watches.popitem()[1].close()

    async def find(self, root: int) -> Sequence[str] | None:
        """The paths with a hidden name in the memory behind descriptor *root*, not those in a hidden folder.

        None: there are more of them than can be left out of a view one by one.
        """
        info = os.fstat(root)
        key = info.st_dev, info.st_ino
        found = self._watched(key)
        if found is None:
            found = look_for_hidden(root, _FEW)
        if found is None:
            found = await self._watch(root, key)
        if len(found) > MAX_HIDDEN or sum(map(len, found)) > _HIDDEN_CHARS:
            return None
        return sorted(found)

    def _watched(self, key: Key) -> set[str] | None:
        watch = self._watches.get(key)
        if watch is None:
            return None
        if watch.changed() is None:  # no telling what has changed
            del self._watches[key]
            watch.close()
            return None
        self._watches.move_to_end(key)
        return watch.hidden

    async def _watch(self, root: int, key: Key) -> set[str]:
        """Look through a large memory, in a thread, and watch it; without watches it is looked through each time."""
        own = os.dup(root)  # the thread may outlive the caller's scope
        try:
            watch = await trio.to_thread.run_sync(_watch_names, own)
            if watch is None:
                return await trio.to_thread.run_sync(look_for_hidden, own) or set()
        finally:
            os.close(own)
        old = self._watches.pop(key, None)
        if old is not None:
            old.close()
        self._watches[key] = watch
        if len(self._watches) > _WATCHED:
            self._watches.popitem(last=False)[1].close()
        return watch.hidden


def _watch_names(root: int) -> Watch | None:
    try:
        return Watch(root, _MAX_FOLDERS, names_only=True)
    except OSError:
        return None


def look_for_hidden(root: int, most: int | None = None) -> set[str] | None:
    """The paths with a hidden name below *root*; None if there are more than *most* files and folders."""
    found: set[str] = set()
    seen = 0
    waiting = [""]
    with Folders(root) as folders:
        while waiting:
            here = waiting.pop()
            try:
                fd = folders.at(here)
            except PermissionError:
                fd = None  # nor may a block look into it
            if fd is None:
                continue
            with os.scandir(fd) as entries:
                for entry in entries:
                    seen += 1
                    if most is not None and seen > most:
                        return None
                    path = f"{here}/{entry.name}" if here else entry.name
                    if hidden_part(entry.name):
                        found.add(path)
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
    return found
