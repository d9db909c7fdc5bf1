"""Which names in a memory are hidden, so that blocks can be given a view without them: at a cost that stays the same.

A small memory is looked through before each block. A larger one is looked through once and watched from then on, so
that a block pays for one read of an empty queue, however many notes there are.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from ..memory import Folders
from ..tools import DEFAULT_RULES, AccessRules, hidden_part, is_shown
from ._indexes import Watch

T = TypeVar("T")
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

    async def find(self, root: int, rules: AccessRules = DEFAULT_RULES) -> Sequence[str] | None:
        """The paths in the memory behind descriptor *root* that a view leaves out, not those in such a folder.

        They have a hidden name, or *rules* do not show them; with rules that do not show all notes, the memory is
        looked through each time.

        None: there are more of them than can be left out of a view one by one.
        """
        if rules.readable:
            found = look_for_hidden(root, _FEW, rules)
            if found is None:
                found = await _in_thread(root, partial(look_for_hidden, rules=rules)) or set()
        else:
            found = await self._hidden(root)
        if len(found) > MAX_HIDDEN or sum(map(len, found)) > _HIDDEN_CHARS:
            return None
        return sorted(found)

    async def _hidden(self, root: int) -> set[str]:
        info = os.fstat(root)
        key = info.st_dev, info.st_ino
        found = self._watched(key)
        if found is None:
            found = look_for_hidden(root, _FEW)
        return await self._watch(root, key) if found is None else found

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
        watch = await _in_thread(root, _watch_names)
        if watch is None:
            return await _in_thread(root, look_for_hidden) or set()
        old = self._watches.pop(key, None)
        if old is not None:
            old.close()
        self._watches[key] = watch
        if len(self._watches) > _WATCHED:
            self._watches.popitem(last=False)[1].close()
        return watch.hidden


async def _in_thread(root: int, function: Callable[[int], T]) -> T:
    own = os.dup(root)  # the thread may outlive the caller's scope
    try:
        return await trio.to_thread.run_sync(function, own)
    finally:
        os.close(own)


def _watch_names(root: int) -> Watch | None:
    try:
        return Watch(root, _MAX_FOLDERS, names_only=True)
    except OSError:
        return None


def look_for_hidden(root: int, most: int | None = None, rules: AccessRules = DEFAULT_RULES) -> set[str] | None:
    """The paths below *root* that have a hidden name or are not shown; None if it has more than *most* entries."""
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
                    name, is_folder = entry.name, entry.is_dir(follow_symlinks=False)
                    if not (is_folder or rules.readable or name[0] == ".") and name.isascii():
                        continue  # before every block, most names pass here
                    path = f"{here}/{name}" if here else name
                    if hidden_part(name) or (rules.readable and not is_shown(path, rules, is_folder=is_folder)):
                        found.add(path)
                    elif is_folder:
                        waiting.append(path)
    return found
