"""Landlock grants of ``kernel-lite`` beside hidden names: note by note, once for many blocks.

Landlock can grant a folder with everything in it, but not all except one name. So a folder with a hidden name is not
granted: each note in it has a rule of its own. Making ten thousand rules takes a hundred times as long as confining a
process by a ruleset that has them. So the host keeps the ruleset, and passes its descriptor to each child.

A rule applies to a file, not to its name, and lasts as long as the ruleset. The host must not pass on a ruleset with a
rule for what has become hidden (``_note_grants.py``). A child fills a new one, since that would block the host. The
child also writes down what it finds, since a block cannot list such folders itself.

A child is confined by two rulesets, and each must grant an access. Its own has its layer and all of the memory; the
host's has the notes that may be read and the folder of all layers.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any

from ...tools import hidden_part
from .confine import READ_DIR, READ_FILE, PathBeneath
from .layers import Listing, folders_above, scan
from .syscalls import GRANTS, LISTED, ROOT, call

if TYPE_CHECKING:
    import mmap

PATH_BENEATH = 1
HEADER = Struct("=Q")
"""A file of listings begins with the length of its table, as JSON. Until it is filled, it holds a list of paths."""
SEALS = ("F_SEAL_WRITE", "F_SEAL_GROW", "F_SEAL_SHRINK", "F_SEAL_SEAL")
READABLE = {stat.S_IFREG: READ_FILE, stat.S_IFDIR: READ_FILE | READ_DIR}
"""The rights of a rule, by the type of file; links have none."""
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_PLACE = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def add_rule(ruleset: int, place: int, rights: int) -> None:
    """Grant *rights* on the file or folder open at *place*, and on everything below it."""
    call("landlock_add_rule", ruleset, PATH_BENEATH, ctypes.byref(PathBeneath(rights, place)), 0)


class StoredListings(Mapping[str, Listing]):
    """The contents of the folders that are not granted, decoded on access.

    Args:
        data: a file written by `fill`.
        changes: what has changed since, by path: its type and inode, None if it was removed.

    Attributes:
        hidden: paths that are not shown, although their own names are not hidden ones.
        size: the size of the file in bytes.
    """

    def __init__(self, data: memoryview, changes: Mapping[str, Sequence[int] | None]) -> None:
        self.hidden, self._places = read_table(data)
        self.size = len(data)
        self._data, self._changes = data, changes
        self._known: dict[str, Listing] = {}

    def __contains__(self, folder: object) -> bool:
        return folder in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, folder: str) -> Listing:
        known = self._known.get(folder)
        if known is None:
            start, size = self._places[folder]
            entries = json.loads(bytes(self._data[start : start + size]))
            found = {name: (name, kind, inode) for name, kind, inode, *_ in entries}
            for path, change in self._changes.items():
                parent, _, name = path.rpartition("/")
                if parent == folder:
                    found.pop(name, None)
                    if change is not None:
                        found[name] = (name, change[0], change[1])
            known = self._known[folder] = list(found.values())
        return known


def read_table(data: memoryview) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """The hidden paths in a file of listings, and the position of each folder's listing."""
    (size,) = HEADER.unpack(data[: HEADER.size])
    start = HEADER.size + size
    table = json.loads(bytes(data[HEADER.size : start]))
    return table["hidden"], {folder: (start + at, length) for folder, at, length in table["folders"]}


def fill(ruleset: int, file: int) -> None:
    """In a child: grant in *ruleset* what may be read below ROOT, and list it in *file*, which is then sealed.

    Before, the file holds the hidden paths.
    """
    hidden: list[str] = json.loads(os.pread(file, os.fstat(file).st_size, 0))
    known = frozenset(hidden)
    listed = folders_above(hidden)
    device = os.fstat(ROOT).st_dev
    rule = PathBeneath(0, 0)
    at_rule = ctypes.byref(rule)
    listings: dict[str, list[tuple[Any, ...]]] = {}
    for folder in sorted(listed):
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = open_below(ROOT, folder)
            try:
                entries = listings[folder] = []
                start = f"{folder}/" if folder else ""
                for name, kind, inode in scan(descriptor):
                    path = start + name
                    if hidden_part(name) or path in known:
                        continue
                    if kind in READABLE and path not in listed:
                        try:
                            place = os.open(name, _PLACE, dir_fd=descriptor)
                        except FileNotFoundError:
                            continue  # removed since it was listed
                        try:
                            info = os.fstat(place)
                            if stat.S_IFMT(info.st_mode) != kind:
                                continue  # replaced since then
                            rule.allowed, rule.parent = READABLE[kind], place
                            call("landlock_add_rule", ruleset, PATH_BENEATH, at_rule, 0)
                        finally:
                            os.close(place)
                        inode = info.st_ino
                        if info.st_dev != device:
                            entries.append((name, kind, inode, info.st_dev))
                            continue
                    elif kind not in READABLE and kind != stat.S_IFLNK:
                        continue
                    entries.append((name, kind, inode))
            finally:
                os.close(descriptor)
    _write(file, [path for path in hidden if not hidden_part(path)], listings)


def _write(file: int, hidden: list[str], listings: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    bodies = [json.dumps(entries).encode() for entries in listings.values()]
    folders, at = [], 0
    for folder, body in zip(listings, bodies, strict=True):
        folders.append((folder, at, len(body)))
        at += len(body)
    table = json.dumps({"hidden": hidden, "folders": folders}).encode()
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    for part in (HEADER.pack(len(table)), table, *bodies):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(file, rest) :]
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in SEALS))


def open_below(root: int, folder: str) -> int:
    """A descriptor of *folder* below *root*, opened without following symbolic links.

    Raises:
        FileNotFoundError, NotADirectoryError: it does not exist.
    """
    here = os.open(".", os.O_RDONLY | _FOLDER, dir_fd=root)
    for name in folder.split("/") if folder else ():
        try:
            deeper = os.open(name, os.O_RDONLY | _FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = deeper
    return here


def find_entry(data: mmap.mmap, place: tuple[int, int], name: str) -> tuple[int, int, int | None] | None:
    """The entry *name* of the listing at *place* in a file: type, inode, and device if that is not the memory's.

    Found without decoding the rest: no other name can contain these characters, since JSON escapes quotation marks.
    """
    start, size = place
    needle = f"[{json.dumps(name)}, ".encode()
    at = data.find(needle, start, start + size)
    if at < 0:
        return None
    at += len(needle)
    kind, inode, *device = map(int, data[at : data.find(b"]", at)].split(b", "))
    return kind, inode, device[0] if device else None


def settle(ruleset: int, file: int) -> None:
    """Move the two descriptors to the numbers that they have in each child."""
    if file != LISTED:
        os.dup2(file, LISTED, inheritable=False)
        os.close(file)
    if ruleset != GRANTS:
        os.dup2(ruleset, GRANTS, inheritable=False)
        os.close(ruleset)
