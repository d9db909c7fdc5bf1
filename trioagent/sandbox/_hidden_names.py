"""Finds the hidden names of a memory, so that blocks get a view without them, at a cost that does not grow.

A small memory is scanned before each block. A larger one is scanned once and watched from then on, so that a block
costs one read of an empty queue, however many notes there are.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import attrs
import trio

from .._steps import STEP_BYTES
from ..memory import Folders, folds_names, on_network
from ..tools import DEFAULT_RULES, AccessRules, hidden_part, is_shown
from ._guest.layers import folders_above
from ._indexes import Watch, is_special
from ._note_grants import BOUNDS, GrantBounds, Grants, NoteGrants

T = TypeVar("T")
_FEW = 200  # files and folders: scanning them takes less than 0.1 ms
MAX_HIDDEN, _HIDDEN_CHARS = 256, 20_000  # hidden names in a setup request, which must fit into its socket at once
_WATCHED = 8  # memories; each takes two descriptors
_MAX_FOLDERS = 4096  # of one of them; each takes a watch

_MOST_GLOBS = 8  # lists of globs per memory whose left out paths are kept
_MOST_GRANTS = 2  # of those lists, with a ruleset
MAX_GRANTED = 4096  # hidden names up to which the notes beside them are granted one by one
Key = tuple[int, int]
Globs = tuple[tuple[str, ...], ...]


@attrs.define(eq=False)
class _Watched:
    """A large memory that is watched.

    Attributes:
        left_out: for each list of globs, the paths that are not shown, including hidden ones.
        grants: for each list of globs, the ruleset of what is shown.
        cannot_grant: the file system does not support such rulesets reliably.
        new_folders: the watch's count when these were last updated.
    """

    watch: Watch
    left_out: OrderedDict[Globs, set[str]] = attrs.field(factory=OrderedDict)
    grants: OrderedDict[Globs, NoteGrants] = attrs.field(factory=OrderedDict)
    cannot_grant: bool = False
    new_folders: int = 0

    def close(self) -> None:
        self.watch.close()
        self.drop_idle(math.inf)

    def drop_idle(self, since: float) -> None:
        """Drop the rulesets that were last used before then."""
        for globs, kept in list(self.grants.items()):
            if kept.used < since:
                del self.grants[globs]
                kept.close()

    def update(self, root: int) -> bool:
        """Apply what has changed; False if that is not known."""
        hidden = set(self.watch.hidden)
        changed = self.watch.changed()
        if changed is None:
            return False
        for kept in self.grants.values():
            kept.named(self.watch.named)
        if self.watch.new_folders != self.new_folders:  # a new folder may be one that is not shown at all
            self.left_out.clear()
            self.new_folders = self.watch.new_folders
        for globs, paths in self.left_out.items():
            paths -= hidden - self.watch.hidden
            new = {path for path in changed if not is_shown(path, DEFAULT_RULES._replace(readable=globs))}
            for path in new | (self.watch.hidden - hidden):
                if not _exists(path, root):
                    paths.discard(path)
                elif not any(path[:at] in paths for at in range(len(path)) if path[at] == "/"):
                    paths.add(path)
        return True


class HiddenNames:
    """The names that are left out of the views of one sandbox: hidden names, and those that rules do not show.

    Attributes:
        bounds: of what rulesets may take.
        make_grants: makes the ruleset of what is shown of a memory.
    """

    def __init__(self) -> None:
        self.bounds: GrantBounds = BOUNDS
        self.make_grants: Callable[[frozenset[str], int, GrantBounds], NoteGrants] = NoteGrants
        self._watches: OrderedDict[Key, _Watched] = OrderedDict()
        self.background: trio.Nursery | None = None
        self._is_dropping = False

    def close(self) -> None:
        while self._watches:
            self._watches.popitem()[1].close()

    async def find(self, root: int, rules: AccessRules = DEFAULT_RULES) -> Sequence[str] | None:
        """The paths in the memory behind descriptor *root* that a view leaves out; not the paths inside such a folder.

        They have a hidden name, or are not shown by *rules*.

        None: there are too many to leave out one by one.
        """
        found = await self._find(root, rules)
        if len(found) > MAX_HIDDEN or sum(map(len, found)) > _HIDDEN_CHARS:
            return None
        return sorted(found)

    async def _find(self, root: int, rules: AccessRules) -> set[str]:
        key = _key(root)
        watched = self._watched(key, root)
        if watched is None:
            found = look_for_hidden(root, _FEW, rules)
            if found is not None:
                return found
            watched = await self._watch(root, key)
            if watched is None:  # without a watch it is scanned before each block
                return await _in_thread(root, partial(look_for_hidden, rules=rules)) or set()
        return await self._left_out(root, watched, rules) if rules.readable else watched.watch.hidden

    async def can_grant(self, root: int, rules: AccessRules) -> bool:
        """Is what a view of this memory shows known to `grant`, however much it leaves out?"""
        found = await self._find(root, rules)
        watched = self._watches.get(_key(root))
        return watched is not None and self._can_grant(root, watched, found)

    def _can_grant(self, root: int, watched: _Watched, found: set[str]) -> bool:
        if len(found) > MAX_GRANTED or sum(map(len, found)) > STEP_BYTES:
            return False
        if len(folders_above(found)) > self.bounds.folders:
            return False
        if not watched.cannot_grant:
            watched.cannot_grant = on_network(root) or folds_any(root, sorted(found))
        return not watched.cannot_grant

    async def grant(self, root: int, rules: AccessRules, *, layers: str, abi: int) -> Grants | None:
        """What grants a block that is about to be confined the notes beside hidden names.

        None: there are none, or it is a small memory, or one of which too little is known.

        Args:
            layers: the folder of all layers.
            abi: of Landlock.
        """
        watched = self._watches.get(_key(root))
        if watched is None:
            return None  # noqa: ASYNC910
        kept = watched.grants.get(rules.readable)
        stamps = {} if kept is None else kept.look(root)
        found = frozenset(await self._find(root, rules))
        if self._watches.get(_key(root)) is not watched or not found:
            return None
        if kept is not None and kept is watched.grants.get(rules.readable) and kept.ready:
            if kept.renew(root, found, stamps):
                watched.grants.move_to_end(rules.readable)
                return kept.grants(layers, _nothing)
            del watched.grants[rules.readable]
            kept.close()
        if not self._can_grant(root, watched, set(found)):
            return None
        new = self.make_grants(found, abi, self.bounds)
        try:
            new.begin(new.look(root))
            given = new.grants(layers, partial(self._filled, _key(root), rules.readable, new))
        except BaseException:
            new.close()
            raise
        if rules.readable not in watched.grants:  # or another child is filling that
            self._keep(watched, rules.readable, new)
        return given

    def _keep(self, watched: _Watched, globs: Globs, grants: NoteGrants) -> None:
        watched.grants[globs] = grants
        if len(watched.grants) > _MOST_GRANTS:
            watched.grants.popitem(last=False)[1].close()
        if not self._is_dropping and self.background is not None:
            self._is_dropping = True
            self.background.start_soon(self._drop_idle)

    def _filled(self, key: Key, globs: Globs, grants: NoteGrants, confined: bool) -> None:
        """A child has filled these, and was confined by them, or has not."""
        watched = self._watches.get(key)
        if watched is not None and watched.grants.get(globs) is grants:
            with suppress(OSError):  # no descriptor is left
                if confined:
                    grants.filled()
                    return
            del watched.grants[globs]
        grants.close()

    def hold(self, root: int, rules: AccessRules, paths: Iterable[str]) -> None:
        """A commit is about to replace or remove these."""
        watched = self._watches.get(_key(root))
        kept = None if watched is None else watched.grants.get(rules.readable)
        if kept is not None and kept.ready:
            kept.hold(root, paths)

    async def _drop_idle(self) -> None:
        while any(watched.grants for watched in self._watches.values()):
            await trio.sleep(self.bounds.idle_seconds)
            for watched in self._watches.values():
                watched.drop_idle(trio.current_time() - self.bounds.idle_seconds)
        self._is_dropping = False

    def _watched(self, key: Key, root: int) -> _Watched | None:
        watched = self._watches.get(key)
        if watched is None:
            return None
        if not watched.update(root):
            del self._watches[key]
            watched.close()
            return None
        self._watches.move_to_end(key)
        return watched

    async def _watch(self, root: int, key: Key) -> _Watched | None:
        """Scan a large memory in a thread, and watch it; None if it cannot be watched."""
        watch = await _in_thread(root, _watch_names)
        if watch is None:
            return None
        old = self._watches.pop(key, None)
        if old is not None:
            old.close()
        watched = self._watches[key] = _Watched(watch)
        if len(self._watches) > _WATCHED:
            self._watches.popitem(last=False)[1].close()
        return watched

    async def _left_out(self, root: int, watched: _Watched, rules: AccessRules) -> set[str]:
        """The paths that *rules* do not show of a watched memory: scanned for once, and updated from then on."""
        found = watched.left_out.get(rules.readable)
        if found is None:
            # Changes during the scan are still in the watch's queue afterwards.
            found = await _in_thread(root, partial(look_for_hidden, rules=rules)) or set()
            watched.left_out[rules.readable] = found
            if len(watched.left_out) > _MOST_GLOBS:
                watched.left_out.popitem(last=False)
        return found


def _nothing(confined: bool) -> None:
    """A ruleset that was filled before stays as it is."""


def _key(root: int) -> Key:
    info = os.fstat(root)
    return info.st_dev, info.st_ino


def folds_any(root: int, paths: Sequence[str]) -> bool:
    """Whether the file system also finds one of *paths* under another spelling (case folding, normalization).

    An overlay hides a name only as it is spelled, and would show it under another. One name of each folder is tried.
    """
    if not paths:
        return False
    tried: dict[str, str] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        tried.setdefault(folder, name)
    with Folders(root) as folders:
        for folder, name in tried.items():
            fd = folders.at(folder)
            if fd is not None and folds_names(fd, name):
                return True
    return False


def _exists(path: str, root: int) -> bool:
    try:
        os.stat(path, dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    return True


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
    """The paths below *root* that have a hidden name or are not shown; None if it has more than *most* entries.

    Pipes, sockets and devices are not shown either: a block that opens one could wait forever.
    """
    found: set[str] = set()
    seen = 0
    waiting = [""]
    with Folders(root) as folders:
        while waiting:
            here = waiting.pop()
            try:
                fd = folders.at(here)
            except PermissionError:
                fd = None  # the block may not list it either
            if fd is None:
                continue
            with os.scandir(fd) as entries:
                for entry in entries:
                    seen += 1
                    if most is not None and seen > most:
                        return None
                    name, is_folder = entry.name, entry.is_dir(follow_symlinks=False)
                    special = not (is_folder or entry.is_file(follow_symlinks=False)) and is_special(entry)
                    if not (is_folder or special or rules.readable or name[0] == ".") and name.isascii():
                        continue  # the common case; this runs for every name before every block
                    path = f"{here}/{name}" if here else name
                    if (
                        special
                        or hidden_part(name)
                        or (rules.readable and not is_shown(path, rules, is_folder=is_folder))
                    ):
                        found.add(path)
                    elif is_folder:
                        waiting.append(path)
    return found
