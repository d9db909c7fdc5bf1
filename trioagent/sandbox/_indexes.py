"""Search indexes of memories: built in the background, shared with blocks, dropped when the sandbox ends.

A memory gets an index after a block had to scan a hundred of its notes or more. An internal block builds it in a
confined child, like any other block, and so off the event loop. The files that this child writes to its view are the
index; they are read from there, with its length, and never as changes of the notes. Blocks get the index as one sealed
memfd, with the list of the notes that have changed since (:class:`Watch`). When that list grows, another small part is
built from them. Parts are merged so that each is at least four times as large as the next: a note is indexed again only
a few times, however many notes there are. If more memories are in use than indexes are kept, the existing indexes are
kept.

A memory of which blocks see only a part (`VaultPolicy.readable`, a chat's filter) has an index for each such part,
built from a view that shows no more: a block can find out all that its index contains.

A block that does not search pays one read of an empty queue and one descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from struct import Struct

import attrs
import trio
from trio_util import AsyncValue

from .._steps import STEP_NAMES
from ..memory import Folders
from ..tools import DEFAULT_RULES, AccessRules, check_part, hidden_part, is_shown
from ._sandbox import Outcome

_EVENT = Struct("iIII")
_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLY_FOLDERS, _NOT_UNLINKED, _IS_FOLDER = 0x01000000, 0x04000000, 0x40000000
_WANTED = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_FOLDERS | _NOT_UNLINKED

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Tracks which notes of a memory have changed, through inotify, whichever process changed them.

    One inotify watch per folder. A program's change is in the queue before its system call returns, so a process that
    gets the lease after another one's commit sees all of that commit. Changes that are not seen: writes through a
    shared mapping or under another name of the same file (a hard link), and those of other machines on a network file
    system. Setting up takes some 5 ms for 10,000 notes.

    Args:
        names_only: do not watch for changed contents.

    Attributes:
        hidden: the paths that have a hidden name, and pipes, sockets and devices, as of the last call of `changed`;
            without the contents of hidden folders.
        new_folders: the number of folders created since the watch began.
        named: the paths named by the events of the last call of `changed`, including hidden ones and folders.

    Raises:
        OSError: there are too many folders, or this user has too many watches.
    """

    def __init__(self, root_fd: int, max_folders: int, *, names_only: bool = False) -> None:
        self.hidden: set[str] = set()
        self.new_folders = 0
        self.named: set[str] = set()
        self._max_folders = max_folders
        self._wanted = _WANTED & ~(_MODIFY | _ATTRIB) if names_only else _WANTED
        self._names_left = STEP_NAMES
        self._folders: dict[int, str] = {}
        self._root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        self._queue = -1
        try:
            self._queue = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._follow("")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._root)
        if self._queue >= 0:
            os.close(self._queue)

    def changed(self) -> set[str] | None:
        """The notes that were written, created, removed or renamed since the last call; None if that is not known.

        Hidden ones are left out. After None the watch is useless. The result is also None if there are more than
        `STEP_NAMES` events and entries of new folders, which are too many to process on the event loop.
        """
        found: set[str] = set()
        self.named = set()
        self._names_left = STEP_NAMES
        try:
            while True:
                try:
                    events = os.read(self._queue, 65536)
                except BlockingIOError:
                    return found
                at = 0
                while at < len(events):
                    number, what, _, length = _EVENT.unpack_from(events, at)
                    at += _EVENT.size + length
                    self._count()
                    if not self._take(number, what, events[at - length : at].rstrip(b"\0").decode(), found):
                        return None
        except (OSError, UnicodeDecodeError):
            pass
        return None

    def _take(self, number: int, what: int, name: str, found: set[str]) -> bool:
        """Record one event; False if it does not tell what has changed."""
        if what & (_OVERFLOW | _UNMOUNT):
            return False
        if what & _IGNORED:
            return self._folders.pop(number, None) != ""
        folder = self._folders.get(number)
        if folder is None or not name:
            return True
        path = f"{folder}/{name}" if folder else name
        self.named.add(path)
        if hidden_part(name):
            if what & (_CREATE | _MOVED_TO):
                self.hidden.add(path)
            elif what & (_DELETE | _MOVED_FROM):
                self.hidden.discard(path)
            return True
        if not what & _IS_FOLDER:
            found.add(path)
            if what & (_DELETE | _MOVED_FROM):
                self.hidden.discard(path)
            elif what & (_CREATE | _MOVED_TO) and _is_special_at(path, self._root):
                self.hidden.add(path)
        elif what & (_MOVED_FROM | _MOVED_TO):
            return False
        elif what & _CREATE:
            self.new_folders += 1
            self._follow(path, found)
        return True

    def _count(self) -> None:
        self._names_left -= 1
        if self._names_left < 0:
            raise OSError(errno.ENOSPC, "too many changes")

    def _follow(self, path: str, found: set[str] | None = None) -> None:
        """Watch a folder and its subfolders, each before it is listed, so that no note is missed in between."""
        waiting = [path]
        with Folders(self._root) as folders:
            while waiting:
                here = waiting.pop()
                fd = folders.at(here)
                if fd is None:
                    continue  # gone again
                watched = _libc.inotify_add_watch(self._queue, f"/proc/self/fd/{fd}".encode(), self._wanted)
                self._folders[_checked(watched)] = here
                if len(self._folders) > self._max_folders:
                    raise OSError(errno.ENOSPC, "too many folders")
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if found is not None:
                            self._count()
                        inner = f"{here}/{entry.name}" if here else entry.name
                        if hidden_part(entry.name):
                            self.hidden.add(inner)
                        elif entry.is_dir(follow_symlinks=False):
                            waiting.append(inner)
                        elif is_special(entry):
                            self.hidden.add(inner)
                        elif found is not None:
                            found.add(inner)


def is_special(entry: os.DirEntry[str]) -> bool:
    """Whether an entry that is not a folder is a pipe, a socket or a device."""
    return not entry.is_file(follow_symlinks=False) and not entry.is_symlink()


def _is_special_at(path: str, root: int) -> bool:
    try:
        mode = os.stat(path, dir_fd=root, follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


WORTH = 100
"""Scanning fewer notes than this costs less than building an index."""

RENEW = 16
"""The number of changed notes from which a new part is built."""

_MAX_CHANGED, _MAX_CHANGED_BYTES = 256, 30_000  # in a setup request, as JSON, where a name may become 6 times as long
_FORGET = 20_000  # changed notes after which an unused index is dropped instead of updated
_GROWTH = 4
_NOT_AGAIN = 600.0  # s until the next attempt if no index of a memory could be built
PIECE = ".trioagent-index-"
_BUILD = """
def build():
    data, notes = search.__self__.renewed_index({keep})
    for number, start in enumerate(range(0, len(data), {size})):
        with open(f"{piece}{{number:06}}", "wb") as file:
            file.write(data[start : start + {size}])
    return len(data), notes
size, notes = build()
"""

Build = Callable[[str, int, AccessRules], Awaitable[tuple[Outcome, list[bytes]]]]
"""Runs an internal block over what rules show of the memory behind a descriptor, and reads the pieces that it wrote: as
many bytes as its variable ``size`` says, from its own layer, whatever the memory has under their names.
"""

Key = tuple[int, int, tuple[tuple[str, ...], ...]]  # device, inode, and the globs of what is shown


@attrs.frozen(kw_only=True)
class IndexBounds:
    """Limits on the indexes of one sandbox.

    Attributes:
        memories: how many memories have one.
        total_bytes: of all indexes together.
        folders: the most folders of a memory with an index; each takes a watch.
        in_use_seconds: an index counts as in use for so long after its memory's last block, and is not evicted
            meanwhile: many memories in turns must not evict each other's indexes.
    """

    memories: int = 16
    total_bytes: int = 64 * 2**20
    folders: int = 4096
    in_use_seconds: float = 60.0


@attrs.frozen
class SharedIndex:
    """An index for one block: a descriptor of its file, where its parts are in it, and the notes changed since."""

    descriptor: int
    layout: dict[str, object]


@attrs.define
class _Part:
    size: int  # bytes
    notes: int


@attrs.define(eq=False)
class _CachedIndex:
    """One memory's index.

    Attributes:
        rules: the access rules that it was built for.
        changed: notes that have changed since the parts were built.
        renewed: changed notes of which a part is being built.
        used: when a block last got it.
    """

    watch: Watch
    rules: AccessRules
    used: float = attrs.field(factory=trio.current_time)
    file: int = -1
    parts: list[_Part] = attrs.field(factory=list)
    changed: dict[str, None] = attrs.field(factory=dict)
    renewed: dict[str, None] = attrs.field(factory=dict)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def update(self) -> bool:
        """Record what has changed; False if that is not known."""
        changed = self.watch.changed()
        if changed is None:
            return False
        self.changed.update(dict.fromkeys(path for path in changed if is_shown(path, self.rules)))
        return len(self.changed) <= _FORGET

    def layout(self) -> dict[str, object] | None:
        """The description of the index for a block; None if it is too long."""
        if len(self.renewed) + len(self.changed) > 2 * _MAX_CHANGED:
            return None
        changed = list(self.renewed | self.changed)
        if len(changed) > _MAX_CHANGED or sum(map(len, changed)) > _MAX_CHANGED_BYTES:
            return None
        if len(json.dumps(changed)) > _MAX_CHANGED_BYTES:  # its length with escapes, the longest form
            return None
        places, at = [], 0
        for part in self.parts:
            places.append((at, part.size))
            at += part.size
        return {"places": places, "changed": changed}

    def close(self) -> None:
        self.watch.close()
        if self.file >= 0:
            os.close(self.file)


class Indexes:
    """All indexes of one sandbox.

    Args:
        build: runs an internal block.
        piece_bytes: the largest file that it may write.

    Attributes:
        background: the nursery in which indexes are built; None: none are.
    """

    def __init__(self, build: Build, piece_bytes: int, bounds: IndexBounds = IndexBounds()) -> None:
        self._build, self._piece_bytes, self._bounds = build, piece_bytes, bounds
        self.background: trio.Nursery | None = None
        self._kept: OrderedDict[Key, _CachedIndex] = OrderedDict()
        self._failed_until: dict[Key, float] = {}
        self._making: AsyncValue[trio.CancelScope | None] = AsyncValue(None)
        self._closed = False

    async def aclose(self) -> None:
        self._closed = True
        if (making := self._making.value) is not None:
            making.cancel()
        with trio.CancelScope(shield=True):
            await self.idle()
        while self._kept:
            self._kept.popitem()[1].close()

    async def idle(self) -> None:
        """Wait until no index is being built."""
        await self._making.wait_value(None)

    def share(self, root_fd: int, rules: AccessRules = DEFAULT_RULES) -> AbstractContextManager[SharedIndex | None]:
        """The index of what *rules* show of a memory, or None; its descriptor is open until the block ends."""
        key = _key(root_fd, rules)
        kept = self._kept.get(key)
        if kept is None or not kept.update():
            self._drop(key)
            return nullcontext()
        layout = kept.layout() if kept.file >= 0 else None
        return nullcontext() if layout is None else self._opened(key, kept, layout)

    @contextmanager
    def _opened(self, key: Key, kept: _CachedIndex, layout: dict[str, object]) -> Iterator[SharedIndex | None]:
        self._kept.move_to_end(key)
        kept.used = trio.current_time()
        try:
            # Opened again, read-only, so that no child can make its mapping writable.
            descriptor = os.open(f"/proc/self/fd/{kept.file}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no descriptor is left
            yield None
            return
        try:
            yield SharedIndex(descriptor, layout)
        finally:
            os.close(descriptor)

    def learn(self, root_fd: int, scanned: int, rules: AccessRules = DEFAULT_RULES) -> None:
        """Record that a block scanned so many notes that *rules* show; builds or updates an index if that pays off."""
        if not scanned or self._closed or self._making.value is not None or self.background is None:
            return
        key = _key(root_fd, rules)
        kept = self._kept.get(key)
        made = kept is not None and kept.file >= 0
        if scanned < WORTH and not made:
            return
        if kept is not None and made and len(kept.changed) < RENEW:
            return
        if self._failed_until.get(key, 0.0) > trio.current_time() or (kept is None and not self._has_room()):
            return
        try:
            # Not a duplicate: that would share the lease's lock.
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        except OSError:  # no descriptor is left
            return
        scope = self._making.value = trio.CancelScope()
        self.background.start_soon(self._make, scope, key, folder)

    async def _make(self, scope: trio.CancelScope, key: Key, folder: int) -> None:
        try:
            with scope:
                try:
                    await self._renew(key, folder)
                except Exception:  # noqa: BLE001  # without an index the tools look at every note, that is all
                    self._give_up(key)
        finally:
            os.close(folder)
            self._making.value = None

    async def _renew(self, key: Key, folder: int) -> None:
        kept = self._kept.get(key)
        if kept is None:
            watch = await trio.to_thread.run_sync(Watch, folder, self._bounds.folders)
            kept = self._kept[key] = _CachedIndex(watch, DEFAULT_RULES._replace(readable=key[2]))
        if not kept.update():
            self._drop(key)
            return
        keep, notes = len(kept.parts), len(kept.changed)
        if kept.layout() is None:
            keep = 0
        while keep and kept.parts[keep - 1].notes < _GROWTH * notes:
            keep -= 1
            notes += kept.parts[keep].notes
        kept.renewed, kept.changed = kept.changed, {}
        outcome, pieces = await self._build(
            _BUILD.format(keep=keep, size=self._piece_bytes, piece=PIECE), folder, kept.rules
        )
        if outcome.error and keep and kept.layout() is None:
            self._drop(key)  # so much has changed meanwhile that the block was not given the parts to keep
            return
        if outcome.error:
            raise ValueError(outcome.error)
        if not pieces:
            raise ValueError("an index of no bytes")
        part = _Part(sum(map(len, pieces)), int(outcome.locals["notes"]))
        if self._kept.get(key) is not kept:
            return  # dropped meanwhile
        old = os.dup(kept.file) if keep else -1  # our own, since the other may be closed meanwhile
        try:
            kept_bytes = sum(part.size for part in kept.parts[:keep])
            file = await trio.to_thread.run_sync(_sealed, old, kept_bytes, pieces)
        finally:
            if keep:
                os.close(old)
        if self._kept.get(key) is not kept:
            os.close(file)
            return
        if kept.file >= 0:
            os.close(kept.file)
        kept.file, kept.parts[keep:] = file, [part]
        kept.renewed = {}
        self._make_room(key)

    def _has_room(self) -> bool:
        """Whether there is room for another index, or one that is not in use can be evicted."""
        if len(self._kept) < self._bounds.memories:
            return True
        return next(iter(self._kept.values())).used < trio.current_time() - self._bounds.in_use_seconds

    def _make_room(self, key: Key) -> None:
        """Evict the least recently used index to make room for the new one, unless all are in use."""
        bounds = self._bounds
        while len(self._kept) > bounds.memories or sum(kept.size for kept in self._kept.values()) > bounds.total_bytes:
            oldest, kept = next(iter(self._kept.items()))
            if oldest == key or kept.used >= trio.current_time() - bounds.in_use_seconds:
                self._give_up(key)
                return
            self._drop(oldest)

    def _give_up(self, key: Key) -> None:
        self._drop(key)
        if len(self._failed_until) > 1000:
            self._failed_until.clear()
        self._failed_until[key] = trio.current_time() + _NOT_AGAIN

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.close()


def _sealed(old: int, size: int, pieces: list[bytes]) -> int:
    """A sealed memfd with the first *size* bytes of the old one, then the pieces.

    Raises:
        OSError: it cannot be created.
        ValueError, struct.error: the pieces do not form what was built.
    """
    check_part(memoryview(b"".join(pieces)))
    file = os.memfd_create("index", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for piece in (os.pread(old, size, 0) if size else b"", *pieces):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(file, rest) :]
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(file)
        raise
    return file


def _key(root_fd: int, rules: AccessRules) -> Key:
    info = os.fstat(root_fd)
    return info.st_dev, info.st_ino, rules.readable
