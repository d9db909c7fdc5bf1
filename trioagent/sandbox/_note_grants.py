"""The rulesets that grant blocks of ``kernel-lite`` the notes beside hidden names, kept from one block to the next.

A rule is on a file and not on its name, and none can be taken out of a ruleset. So a ruleset is handed on only if no
file that one of its rules is on can have been hidden since. A file has its name still if the watch tells of no event
there; where a folder's times tell of a change and the watch of none, that is not believed. Of a file that has left its
name it must be proven that it has another one that shows, or none at all. The second is known of what a block's own
commit replaces: it is held open meanwhile (`NoteGrants.hold`), so its count of names says so, and its inode can be no
other's as long as there is a rule on it. In all other cases the ruleset is made anew. So it is when more has gone than
is good to keep: a file without a name keeps its space until the ruleset is gone.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

import attrs
import trio

from ..memory import Folders
from ..tools import hidden_part
from ._guest.confine import GRANTED, new_ruleset
from ._guest.grants import READABLE, add_rule, find_entry, read_table
from ._guest.layers import folders_above
from ._guest.syscalls import call

MAX_CHANGES, _CHANGE_CHARS = 200, 8_000
"""Names of which a setup request says what has become of them."""
_MOST_NAMED = 1000
_MOST_AT_ONCE = 32
"""Names that are looked for in the listings between two blocks, one after the other."""
_MOST_HELD = 8
_PLACE = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

Place = tuple[int, int]  # a device and an inode
Stamp = tuple[int, int, int, int]


@attrs.frozen(kw_only=True)
class GrantBounds:
    """What rulesets may take.

    Attributes:
        folders: that hold hidden names: each is made in the layer of each block.
        gone_bytes: of files that are gone but for a rule on them.
        idle_seconds: for which a memory's rulesets are kept after its last block: files that are deleted keep their
            space as long.
    """

    folders: int = 256
    gone_bytes: int = 16 * 2**20
    idle_seconds: float = 60.0


BOUNDS = GrantBounds()


@attrs.frozen
class Grants:
    """What goes with a setup request.

    Attributes:
        descriptors: a ruleset, and the file of what is in the folders with hidden names.
        changes: what has changed since that was written; None: the child is to fill both.
        done: to be told whether a child has been confined by them.
    """

    descriptors: tuple[int, int]
    changes: Mapping[str, tuple[int, int] | None] | None
    done: Callable[[bool], None]


@attrs.define(eq=False)
class NoteGrants:
    """The ruleset of what is shown of one memory.

    Args:
        hidden: the paths that are not shown.
        abi: of Landlock.
        bounds: of what it may take.

    Raises:
        OSError: there can be none.
    """

    hidden: frozenset[str]
    abi: int
    bounds: GrantBounds = BOUNDS
    ruleset: int = attrs.field(init=False, default=-1)
    file: int = attrs.field(init=False, default=-1)
    ready: bool = attrs.field(init=False, default=False)  # a child has filled it
    used: float = attrs.field(init=False, factory=trio.current_time)
    folders: frozenset[str] = attrs.field(init=False)
    _left_out: frozenset[str] = attrs.field(init=False)
    _places: dict[str, Place] = attrs.field(init=False, factory=dict)
    _stamps: dict[str, Stamp | None] = attrs.field(init=False, factory=dict)
    _named: set[str] = attrs.field(init=False, factory=set)
    _changes: dict[str, tuple[int, int, int | None] | None] = attrs.field(init=False, factory=dict)
    _held: dict[str, int] = attrs.field(init=False, factory=dict)
    _layers: set[str] = attrs.field(init=False, factory=set)
    _gone: int = attrs.field(init=False, default=0)
    _gone_bytes: int = attrs.field(init=False, default=0)
    _lost: bool = attrs.field(init=False, default=False)  # too much has happened to it

    def __attrs_post_init__(self) -> None:
        self.folders, self._left_out = folders_above(self.hidden), _hidden_otherwise(self.hidden)
        try:
            ruleset, size = new_ruleset(self.abi)
            self.ruleset = call("landlock_create_ruleset", ctypes.byref(ruleset), size, 0)
            self.file = os.memfd_create("grants", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            rest = memoryview(json.dumps(sorted(self.hidden)).encode())
            while rest:
                rest = rest[os.write(self.file, rest) :]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.ready = False
        self._release()
        for descriptor in (self.ruleset, self.file):
            if descriptor >= 0:
                os.close(descriptor)
        self.ruleset = self.file = -1

    def _release(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def grants(self, layers: str, done: Callable[[bool], None]) -> Grants:
        """For a child whose layer lies in the folder *layers*.

        Raises:
            OSError: that is not there.
        """
        if layers not in self._layers:
            place = os.open(layers, _PLACE | os.O_DIRECTORY)
            try:
                add_rule(self.ruleset, place, GRANTED & new_ruleset(self.abi)[0].files)
            finally:
                os.close(place)
            self._layers.add(layers)
        self.used = trio.current_time()
        changes = None
        if self.ready:
            changes = {path: None if entry is None else entry[:2] for path, entry in self._changes.items()}
        return Grants((self.ruleset, self.file), changes, done)

    def filled(self) -> None:
        """A child has filled it, which had been confined by it before its block began."""
        size = os.fstat(self.file).st_size
        with mmap.mmap(self.file, size, prot=mmap.PROT_READ) as data, memoryview(data) as view:
            _, self._places = read_table(view)
        # Opened anew: for reading, so that no child can make its mapping one to write to.
        file = os.open(f"/proc/self/fd/{self.file}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(self.file)
        self.file, self.ready = file, True

    # ------------------------------------------------------------------ what has changed

    def look(self, root: int) -> dict[str, Stamp | None]:
        """The states of the folders: to be asked for before the watch is."""
        return {folder: _stamp(folder, root) for folder in self.folders}

    def begin(self, stamps: dict[str, Stamp | None]) -> None:
        """Before a child fills it."""
        self._stamps = stamps

    def named(self, paths: Collection[str]) -> None:
        """Events of the watch have named these."""
        if len(self._named) + len(paths) > _MOST_NAMED:
            self._lost = True
        else:
            self._named.update(paths)

    def hold(self, root: int, paths: Iterable[str]) -> None:
        """Keep the files open that these paths lead to: a commit is about to replace or remove them."""
        with Folders(root) as folders:
            for path in itertools.islice(paths, _MOST_AT_ONCE):
                if len(self._held) >= _MOST_HELD:
                    return
                if path.rpartition("/")[0] in self.folders and path not in self._held:
                    descriptor = _open(folders, path)
                    if descriptor is not None:
                        self._held[path] = descriptor

    def renew(self, root: int, hidden: frozenset[str], stamps: dict[str, Stamp | None]) -> bool:
        """Take in what has changed; False if it is not proven that nothing that is hidden has a rule.

        Args:
            root: the memory.
            hidden: the paths that are not shown now.
            stamps: what `look` said before the watch was asked for changes.
        """
        try:
            return not self._lost and self._fits(hidden) and self._is_accounted_for(stamps) and self._take_in(root)
        except OSError:
            return False
        finally:
            self._named.clear()
            self._stamps = stamps
            self._release()

    def _fits(self, hidden: frozenset[str]) -> bool:
        if hidden != self.hidden:
            if not folders_above(hidden) <= self.folders or _hidden_otherwise(hidden) != self._left_out:
                return False
            self.hidden = hidden
        return True

    def _is_accounted_for(self, stamps: dict[str, Stamp | None]) -> bool:
        """Are the folders the same, and has the watch named something in each whose times are not?"""
        touched = {path.rpartition("/")[0] for path in self._named}
        for folder, before in self._stamps.items():
            now = stamps.get(folder)
            if now is None or before is None or now[:2] != before[:2] or (now != before and folder not in touched):
                return False
        return True

    def _take_in(self, root: int) -> bool:
        names = [path for path in self._named if path.rpartition("/")[0] in self.folders and not hidden_part(path)]
        if not names:
            return True
        if len(names) > _MOST_AT_ONCE or not self.folders.isdisjoint(names):
            return False
        device = os.fstat(root).st_dev
        found: dict[str, int] = {}
        try:
            with Folders(root) as folders:
                for path in names:
                    descriptor = _open(folders, path)
                    if descriptor is not None:
                        found[path] = descriptor
            with mmap.mmap(self.file, os.fstat(self.file).st_size, prot=mmap.PROT_READ) as data:
                before = {path: self._entry(path, data) for path in names}
            return self._replace(before, found, device)
        finally:
            for descriptor in found.values():
                os.close(descriptor)

    def _entry(self, path: str, data: mmap.mmap) -> tuple[int, int, int | None] | None:
        if path in self._changes:
            return self._changes[path]
        folder, _, name = path.rpartition("/")
        place = self._places.get(folder)
        return None if place is None else find_entry(data, place, name)

    def _replace(
        self, before: Mapping[str, tuple[int, int, int | None] | None], found: Mapping[str, int], device: int
    ) -> bool:
        now = {path: os.fstat(descriptor) for path, descriptor in found.items()}
        shown = {(info.st_dev, info.st_ino) for info in now.values()}
        for path, old in before.items():
            info = now.get(path)
            kind, place = (0, None) if info is None else (stat.S_IFMT(info.st_mode), (info.st_dev, info.st_ino))
            old_kind = 0 if old is None else old[0]
            old_place = None if old is None else (old[2] or device, old[1])
            if kind == old_kind and place == old_place:
                continue  # it has come back, or was written to
            # A rule on a folder grants all that will ever be in it: those are a child's to make, which lists it first.
            if kind not in (0, stat.S_IFREG, stat.S_IFLNK) or old_kind not in (0, stat.S_IFREG, stat.S_IFLNK):
                return False
            if path in self._left_out:
                return False
            if old_kind == stat.S_IFREG and old_place not in shown and not self._is_gone(path, old_place):
                return False
            if info is None:
                self._changes[path] = None
                continue
            if kind == stat.S_IFREG:
                add_rule(self.ruleset, found[path], READABLE[kind])
            self._changes[path] = kind, info.st_ino, None if info.st_dev == device else info.st_dev
        return len(self._changes) <= MAX_CHANGES and sum(map(len, self._changes)) <= _CHANGE_CHARS

    def _is_gone(self, path: str, place: Place | None) -> bool:
        """Has the file that was at *path* no name any more, and so will never have one?"""
        descriptor = self._held.get(path)
        if descriptor is None:
            return False
        info = os.fstat(descriptor)
        self._gone += 1
        self._gone_bytes += info.st_size
        if self._gone > MAX_CHANGES or self._gone_bytes > self.bounds.gone_bytes:
            return False
        return (info.st_dev, info.st_ino) == place and info.st_nlink == 0


def _hidden_otherwise(hidden: Iterable[str]) -> frozenset[str]:
    """Those that are hidden though their names do not say so."""
    return frozenset(path for path in hidden if not hidden_part(path))


def _open(folders: Folders, path: str) -> int | None:
    folder, _, name = path.rpartition("/")
    with suppress(OSError):
        fd = folders.at(folder)
        if fd is not None:
            return os.open(name, _PLACE, dir_fd=fd)
    return None


def _stamp(folder: str, root: int) -> Stamp | None:
    try:
        info = os.stat(folder or ".", dir_fd=root, follow_symlinks=False)
    except OSError:
        return None
    return info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns
