"""A view implemented in Python, for when nothing can be mounted: the memory below, a private layer above it.

It does in the block's own process what overlayfs does in the kernel: a note is read from the memory until the block
opens it for writing; from then on its copy in the layer is used. Deletions are recorded by path. It costs the same for
ten notes and for ten thousand. It is not a security boundary: what the block may access at all is enforced by Landlock,
and code that bypasses this module finds the memory read-only and a layer that is its own.

Paths of a view: ``""`` is the memory itself; there is no leading ``/``, no link on the way, and no ``.`` or ``..``.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType, SimpleNamespace
from typing import NoReturn

from ...tools import hidden_part
from .limits import MAX_DEPTH

GONE = ".trioagent-gone"
"""In a layer: the folder of the lists of paths that no longer show through."""
GONE_BYTES = 256 * 1024
"""The most bytes of one such list."""

Key = tuple[int, int]  # a device and an inode
Listing = Sequence[tuple[str, int, int]]  # names with their types (stat.S_IFREG and so on) and inodes

_NAMES = (
    "access chdir close closerange dup dup2 fchdir fstat ftruncate getcwd listdir lstat mkdir open read readlink "
    "rename rmdir scandir stat truncate umask unlink write"
).split()
REAL = SimpleNamespace(**{name: getattr(os, name, None) for name in _NAMES})
"""The original functions of ``os``, which have been replaced there."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_LINKS = 40
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_PIECE = 128 * 1024
_MOVING = ".trioagent-moving"
_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
READ, WRITE, SEARCH = 4, 2, 1


def failed(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


class Layers:
    """One block's view.

    Args:
        lower: a descriptor of the memory's folder, None for an empty one.
        upper: a descriptor of the layer's folder.
        hidden: paths of the memory that never show through, nor does anything below them.
        listings: the contents of those folders of the memory that cannot be listed any more.

    Attributes:
        cwd: the current folder.
        gone: paths of the memory that no longer show through, nor does anything below them. Each is listed by itself,
            whatever else is: only an empty folder can be removed.
    """

    def __init__(
        self,
        lower: int | None,
        upper: int,
        hidden: Sequence[str] = (),
        listings: Mapping[str, Listing] = MappingProxyType({}),
    ) -> None:
        self._lower, self._upper = lower, upper
        self._hidden = frozenset(map(hash, hidden))  # not the names, since the block can inspect this
        self._listings = listings
        self._root = REAL.fstat(upper), REAL.fstat(upper if lower is None else lower)
        self._written = bool(self._listings)  # the layer may contain something
        self._folders: dict[Key, str] = {key_of(info): "" for info in self._root}
        self._plain: set[str] = set()  # folders that are known not to be links
        self._before: dict[str, os.stat_result] = {}  # of copies that have not been changed
        self._listed: dict[Key, str] = {}  # folders in `listings`, by device and inode in the memory
        self.cwd = ""
        self.gone: set[str] = set()
        for folder in self._listings:  # these are in the layer too
            info = self._below(folder)
            if folder and info is not None:
                self._listed[key_of(info)] = folder
                self._folders[key_of(REAL.stat(folder, dir_fd=upper))] = folder
                self._before[folder] = info

    # ------------------------------------------------------------------ paths

    def resolve(self, text: str, start: str = "", *, follow: bool = True) -> str:
        """The path that *text* refers to, relative to the folder *start*; its last name need not exist.

        Args:
            follow: if that is a symbolic link, resolve it.
        """
        if not text:
            failed(errno.ENOENT)
        if "\0" in text:
            raise ValueError("embedded null byte")
        here = "" if text[0] == "/" else start
        waiting = text.split("/")[::-1]
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = here.rpartition("/")[0]
                continue
            path = f"{here}/{name}" if here else name
            if path in self._plain:
                here = path
                continue
            last = all(name in ("", ".") for name in waiting)
            if last and not waiting and not follow:
                return self._as_listed(path)
            try:
                info = self.lstat(path)
                mode = info.st_mode
            except FileNotFoundError:
                if last and "." not in waiting:
                    return path
                raise
            if stat.S_ISLNK(mode):
                links += 1
                if links > _LINKS:
                    failed(errno.ELOOP)
                target = self.target(path)
                waiting += target.split("/")[::-1]
                if target.startswith("/"):
                    here = ""
                continue
            if stat.S_ISDIR(mode):
                path = self._as_listed(path, info)
                self._plain.add(path)
            elif not last or waiting:
                failed(errno.ENOTDIR)
            here = path
        return here

    def _as_listed(self, path: str, info: os.stat_result | None = None) -> str:
        """*path* as it is listed: where case does not count, it may be another spelling of a listed folder."""
        if not self._listed or path in self._listings:
            return path
        with suppress(OSError):
            return self._listed.get(key_of(info or self.lstat(path)), path)
        return path

    def target(self, path: str) -> str:
        """The target of the symbolic link at *path*."""
        try:
            target: str = REAL.readlink(path, dir_fd=self._lower)
        except OSError as error:
            if error.errno != errno.EINVAL or not stat.S_ISLNK(self.lstat(path).st_mode):
                raise
            return self._search(path)
        return target

    def _search(self, link: str) -> str:
        """The same where links may not be read: finds what has the inode that the kernel finds behind *link*."""
        wanted = key_of(REAL.stat(link, dir_fd=self._lower))
        if wanted == key_of(self._root[1]):
            return "/"
        waiting = [""]
        while waiting:
            here = waiting.pop()
            for name, kind, inode in self._lower_entries(here):
                path = f"{here}/{name}" if here else name
                if inode == wanted[1] and kind != stat.S_IFLNK:
                    return f"/{path}"
                if kind == stat.S_IFDIR:
                    waiting.append(path)
        failed(errno.ENOENT)  # it leads out of the memory

    def holds(self, descriptor: int) -> bool:
        """Whether the view itself needs this descriptor. For the block it counts as closed."""
        return descriptor in (self._lower, self._upper)

    def fstat(self, descriptor: int) -> os.stat_result:
        if self.holds(descriptor):
            failed(errno.EBADF)
        info: os.stat_result = REAL.fstat(descriptor)
        return info

    def folder_of(self, descriptor: int) -> str:
        """The path of the folder that *descriptor* is open on."""
        info = self.fstat(descriptor)
        if not stat.S_ISDIR(info.st_mode):
            failed(errno.ENOTDIR)
        path = self._folders.get(key_of(info))
        if path is None:
            failed(errno.ENOENT)
        return path

    # ------------------------------------------------------------------ looking

    def _shows(self, path: str) -> bool:
        """Whether the memory's entry at *path*, if any, shows through."""
        if self._lower is None or hidden_part(path):
            return False
        if not self.gone and not self._hidden:
            return True
        at = len(path)
        while at > 0:
            if path[:at] in self.gone or hash(path[:at]) in self._hidden:
                return False
            at = path.rfind("/", 0, at)
        return True

    def _above(self, path: str) -> os.stat_result | None:
        if not self._written and path:
            return None
        try:
            info: os.stat_result = REAL.stat(path or ".", dir_fd=self._upper, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return info

    def _below(self, path: str) -> os.stat_result | None:
        if not self._shows(path):
            return None
        try:
            info: os.stat_result = REAL.stat(path or ".", dir_fd=self._lower, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return info if stat.S_IFMT(info.st_mode) in _KINDS else None

    def lstat(self, path: str) -> os.stat_result:
        """The status of what is at *path*.

        Raises:
            OSError: FileNotFoundError, NotADirectoryError, or what the kernel says.
        """
        info = self._above(path)
        if info is not None:
            before = self._before.get(path)
            return info if before is None else _with_times(info, before)
        info = self._below(path)
        if info is None:
            failed(errno.ENOENT)
        return info

    def may(self, info: os.stat_result, wanted: int) -> bool:
        """Whether the owner, which a block counts as, has the permissions *wanted* (READ, WRITE, SEARCH)."""
        return info.st_mode >> 6 & wanted == wanted

    def entries(self, path: str) -> Listing:
        """The entries of the folder *path*, with types and inodes, unordered."""
        above = self._above(path)
        below = self._below(path)
        if not stat.S_ISDIR((above or below or self.lstat(path)).st_mode):
            failed(errno.ENOTDIR)
        found: dict[str, tuple[str, int, int]] = {}
        if below is not None and stat.S_ISDIR(below.st_mode):
            start = f"{path}/" if path else ""
            gone = self.gone
            for entry in self._lower_entries(path):
                if not gone or start + entry[0] not in gone:
                    found[entry[0]] = entry
        if above is not None and (self._written or self._lower is None):
            with self._opened(path, self._upper) as folder:
                for entry in scan(folder):
                    if path or entry[0] not in (GONE, _MOVING):
                        found[entry[0]] = entry
        return list(found.values())

    def _lower_entries(self, path: str) -> Listing:
        known = self._listings.get(path)
        if known is not None:
            return known
        assert self._lower is not None
        with self._opened(path, self._lower) as folder:
            return [entry for entry in scan(folder) if entry[1] in _KINDS and not hidden_part(entry[0])]

    @contextmanager
    def _opened(self, path: str, layer: int) -> Iterator[int]:
        descriptor = REAL.open(path or ".", _FOLDER, dir_fd=layer)
        try:
            yield descriptor
        finally:
            REAL.close(descriptor)

    # ------------------------------------------------------------------ files

    def open(self, path: str, flags: int, mode: int) -> int:
        """A descriptor of the file or folder at *path*: from the layer if the block has written or may write."""
        try:
            info = self.lstat(path)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            self._prepare_change(path)
            return int(REAL.open(path, flags, mode, dir_fd=self._upper))
        if flags & os.O_CREAT and flags & os.O_EXCL:
            failed(errno.EEXIST)
        if stat.S_ISLNK(info.st_mode):
            failed(errno.ELOOP)
        above = self._above(path) is not None
        if stat.S_ISDIR(info.st_mode):
            if flags & (_WRITING | os.O_CREAT):
                failed(errno.EISDIR)
            descriptor = int(REAL.open(path or ".", flags, dir_fd=self._upper if above else self._lower))
            self._folders[key_of(REAL.fstat(descriptor))] = path
            return descriptor
        if flags & os.O_DIRECTORY:
            failed(errno.ENOTDIR)
        flags &= ~os.O_CREAT
        if not above:
            if not flags & _WRITING:
                return int(REAL.open(path, flags, dir_fd=self._lower))
            wanted = WRITE if flags & os.O_WRONLY else READ | WRITE
            if not self.may(info, wanted):
                failed(errno.EACCES)
            self._copy_up(path, info, path, with_content=not flags & os.O_TRUNC)
        if flags & _WRITING:
            self._before.pop(path, None)
        return int(REAL.open(path, flags, dir_fd=self._upper))

    def _copy_up(self, path: str, info: os.stat_result, target: str, *, with_content: bool = True) -> None:
        """Copy the note at *path* to the layer as *target*, if it is not there."""
        self._make_parents(target)
        mask = REAL.umask(0)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            new = REAL.open(target, flags, stat.S_IMODE(info.st_mode) & 0o777, dir_fd=self._upper)
        finally:
            REAL.umask(mask)
        try:
            if with_content:
                layer = self._lower if path == target or self._above(path) is None else self._upper
                old = REAL.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=layer)
                try:
                    while data := REAL.read(old, _PIECE):
                        left = memoryview(data)
                        while left:
                            left = left[REAL.write(new, left) :]
                finally:
                    REAL.close(old)
            self._before[target] = info
        except BaseException:
            REAL.unlink(target, dir_fd=self._upper)
            raise
        finally:
            REAL.close(new)

    def _make_parents(self, path: str) -> None:
        """Create the folders above *path* in the layer, too."""
        self._written = True
        at = path.find("/")
        while at > 0:
            self._make_upper(path[:at])
            at = path.find("/", at + 1)

    def _make_upper(self, folder: str) -> None:
        if self._above(folder) is not None:
            return
        real = self.resolve(folder)  # when a folder is moved, links in it are replaced by their targets
        info = self.lstat(real)
        mask = REAL.umask(0)
        try:
            # Its contents must be accessible to us, whatever permissions the memory's own folder has.
            REAL.mkdir(folder, stat.S_IMODE(info.st_mode) & 0o777 | 0o700, dir_fd=self._upper)
        finally:
            REAL.umask(mask)
        made = REAL.stat(folder, dir_fd=self._upper, follow_symlinks=False)
        self._folders[key_of(made)] = folder
        if real == folder:
            self._folders[key_of(info)] = folder
        self._before[folder] = info

    def _prepare_change(self, path: str) -> None:
        """Prepare for an entry *path* being created or removed."""
        parent = path.rpartition("/")[0]
        info = self.lstat(parent)
        if not stat.S_ISDIR(info.st_mode):
            failed(errno.ENOTDIR)
        if not self.may(self._below(parent) or info, WRITE | SEARCH):
            failed(errno.EACCES)
        self._make_parents(path)
        self._before.pop(parent, None)

    def unlink(self, path: str) -> None:
        if stat.S_ISDIR(self.lstat(path).st_mode):
            failed(errno.EISDIR)
        self._prepare_change(path)
        if self._above(path) is not None:
            REAL.unlink(path, dir_fd=self._upper)
            self._before.pop(path, None)
        self._forget(path)

    def _forget(self, path: str) -> None:
        """Hide the memory's entry at *path*, if any."""
        if self._below(path) is not None:
            self.gone.add(path)

    # ------------------------------------------------------------------ folders

    def mkdir(self, path: str, mode: int) -> None:
        with suppress(FileNotFoundError):
            self.lstat(path)
            failed(errno.EEXIST)
        self._prepare_change(path)
        REAL.mkdir(path, mode, dir_fd=self._upper)

    def rmdir(self, path: str) -> None:
        if not path:
            failed(errno.EBUSY)
        if not stat.S_ISDIR(self.lstat(path).st_mode):
            failed(errno.ENOTDIR)
        if self.entries(path):
            failed(errno.ENOTEMPTY)
        self._prepare_change(path)
        if self._above(path) is not None:
            REAL.rmdir(path, dir_fd=self._upper)
            self._before.pop(path, None)
        self._forget(path)
        self._plain.clear()

    def rename(self, source: str, target: str) -> None:
        info = self.lstat(source)
        is_folder = stat.S_ISDIR(info.st_mode)
        if not source or not target:
            failed(errno.EBUSY)
        if is_folder and f"{target}/".startswith(f"{source}/") and source != target:
            failed(errno.EINVAL)
        try:
            there = self.lstat(target)
        except FileNotFoundError:
            there = None
        if stat.S_ISLNK(info.st_mode):
            failed(errno.EACCES)  # a block cannot create any
        if source == target or (there is not None and key_of(info) == key_of(there)):
            return  # two names of one file, or of one folder where case does not count: as rename(2) has it
        if there is not None:
            if stat.S_ISDIR(there.st_mode) and not is_folder:
                failed(errno.EISDIR)
            if is_folder and not stat.S_ISDIR(there.st_mode):
                failed(errno.ENOTDIR)
        self._prepare_change(source)
        self._prepare_change(target)
        if is_folder:
            old = self._copy_up_tree(source)
            if there is not None:
                self.rmdir(target)
            REAL.rename(source, target, src_dir_fd=self._upper, dst_dir_fd=self._upper)
            self._moved(source, target)
            self.gone |= old
        elif self._above(source) is not None:
            REAL.rename(source, target, src_dir_fd=self._upper, dst_dir_fd=self._upper)
            self._before.pop(target, None)
            if source in self._before:
                self._before[target] = self._before.pop(source)
        else:
            self._copy_up(source, info, _MOVING)  # whole, before anything is replaced
            REAL.rename(_MOVING, target, src_dir_fd=self._upper, dst_dir_fd=self._upper)
            self._before[target] = self._before.pop(_MOVING)
        self._forget(source)

    def _copy_up_tree(self, folder: str) -> set[str]:
        """Copy everything below *folder* to the layer, however much that is (the layer is bounded).

        Returns:
            The paths that the memory has.
        """
        waiting, old = [(folder, folder)], set[str]()
        while waiting:
            here, target = waiting.pop()
            self._make_parents(f"{target}/")
            for name, kind, _ in self.entries(here):
                path, copy = f"{here}/{name}", f"{target}/{name}"
                if here == target and self._below(path) is not None:
                    old.add(path)
                if kind == stat.S_IFLNK:
                    path = self.resolve(path)  # a block cannot create links
                info = self.lstat(path)
                if stat.S_ISDIR(info.st_mode):
                    if copy.count("/") > MAX_DEPTH:
                        failed(errno.ELOOP)
                    waiting.append((path, copy))
                elif self._above(copy) is None:
                    self._copy_up(path, info, copy)
        return old

    def _moved(self, source: str, target: str) -> None:
        """Record that folder *source* of the layer has become *target*."""
        self._plain.clear()

        def renamed(path: str) -> str:
            return target + path[len(source) :] if f"{path}/".startswith(f"{source}/") else path

        self.cwd = renamed(self.cwd)
        self._folders = {key: renamed(path) for key, path in self._folders.items()}
        self._before = {renamed(path): before for path, before in self._before.items()}

    # ------------------------------------------------------------------ the end

    def write_list(self) -> None:
        """Write the list of paths that no longer show through to the layer, where the host reads it."""
        if not self.gone:
            return
        with suppress(FileExistsError):
            REAL.mkdir(GONE, 0o700, dir_fd=self._upper)
        pieces: list[list[str]] = [[]]
        room = GONE_BYTES
        for path in sorted(self.gone):
            size = 6 * len(path) + 10  # as JSON, in ASCII
            if size > room and pieces[-1]:
                pieces.append([])
                room = GONE_BYTES
            pieces[-1].append(path)
            room -= size
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, piece in enumerate(pieces):
            descriptor = REAL.open(f"{GONE}/{number:06}", flags, 0o600, dir_fd=self._upper)
            try:
                left = memoryview(json.dumps(piece).encode())
                while left:
                    left = left[REAL.write(descriptor, left) :]
            finally:
                REAL.close(descriptor)


def list_folders(root: int, hidden: Sequence[str]) -> dict[str, Listing]:
    """The folders of the memory behind descriptor *root* that contain a hidden path, and their other entries.

    Landlock can allow a block a folder with everything in it, but not all except one name: such folders are listed
    beforehand, and their entries are allowed name by name.
    """
    known = frozenset(hidden)
    listings: dict[str, Listing] = {}
    for folder in sorted(folders_above(hidden)):
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = REAL.open(folder or ".", _FOLDER | os.O_NOFOLLOW, dir_fd=root)
            try:
                found = scan(descriptor)
            finally:
                REAL.close(descriptor)
            start = f"{folder}/" if folder else ""
            listings[folder] = [
                entry
                for entry in found
                if entry[1] in _KINDS and not hidden_part(entry[0]) and start + entry[0] not in known
            ]
    return listings


def folders_above(hidden: Collection[str]) -> frozenset[str]:
    """The folders that have one of these paths below them."""
    above = {path[:at] for path in hidden for at in range(len(path)) if path[at] == "/"}
    return frozenset({"", *above} if hidden else ())


def paths_of(request: Sequence[str]) -> list[str]:
    """Paths as encoded in a setup request, whatever their bytes."""
    return [os.fsdecode(path.encode("latin-1")) for path in request]


def readable(listings: Mapping[str, Listing]) -> Iterator[tuple[str, bool]]:
    """What may be read in listed folders: files, and folders (True) that are not listed themselves."""
    for folder, entries in listings.items():
        for name, kind, _ in entries:
            path = f"{folder}/{name}" if folder else name
            if kind == stat.S_IFREG or (kind == stat.S_IFDIR and path not in listings):
                yield path, kind == stat.S_IFDIR


def key_of(info: os.stat_result) -> Key:
    return info.st_dev, info.st_ino


def scan(folder: int) -> list[tuple[str, int, int]]:
    """What is in a folder, with types (0: of another kind) and inodes."""
    with REAL.scandir(folder) as entries:
        return [(entry.name, _kind(entry), entry.inode()) for entry in entries]


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFLNK if entry.is_symlink() else 0


def _with_times(info: os.stat_result, times: os.stat_result) -> os.stat_result:
    """A copy's status with the times of its original: it has not been changed yet."""
    fields = {name: getattr(info, name) for name in ("st_blksize", "st_blocks", "st_rdev")}
    for name in ("st_atime", "st_mtime", "st_ctime"):
        fields[name] = getattr(times, name)
        fields[f"{name}_ns"] = getattr(times, f"{name}_ns")
    return os.stat_result((*info[:7], *times[7:10]), fields)
