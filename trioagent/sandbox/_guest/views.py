"""Private, writable views of one memory: overlays, and the folders of layered views (:mod:`.layers`).

Both mounts of an overlay are detached: they are in no mount table and vanish with their last descriptor. The block's
changes are in the upper layer only; the host reads them from there when the block is dead.

If nothing can be mounted, a block writes to a scratch folder. The zygote creates it and keeps it locked while it lives,
so that a later one can recognise what a killed one left behind, and remove it. It is in /dev/shm (in memory) if that is
a large enough tmpfs, else among the temporary files.

An absent note in a layer, or in the copy of a memory, means "deleted" only if no other process has removed anything
there. So each has beside it a file named INTACT, created before it and never again. Whoever removes a view removes that
file first, and whoever has read a view checks for it *afterwards*: if it exists, no removal had begun when the last
entry was read. If it does not, absent entries mean nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from .copying import FOLDER, TooLarge, remove_tree, removing_tree, walk
from .grants import StoredListings, fill
from .index_access import map_file
from .layers import Listing, list_folders, paths_of
from .syscalls import BASE, GRANTS, LISTED, MOUNTED, MOUNTING, ROOT, UPPER_FD, Script

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CREATE = 0, 1, 6
CLOEXEC = 1
NOSUID, NODEV, NOEXEC = 2, 4, 8
OWN_FILES = 8  # our own folders in the tmpfs, and the overlay's work files
EMPTY = b"empty"
_PLACE = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OverlayView:
    """The prepared system calls that make a view.

    Args:
        size, files: the limits of the upper layer, in bytes and in files and folders.
    """

    def __init__(self, *, size: int, files: int) -> None:
        self._upper = Script()
        limits: dict[bytes, bytes | None] = {
            b"size": b"%d" % size,
            b"nr_inodes": b"%d" % (files + OWN_FILES),
            b"mode": b"700",
        }
        _add_mount(self._upper, b"tmpfs", limits, config=ROOT, root=BASE)
        for name in (b"upper", b"work"):
            self._upper.add("mkdirat", BASE, name, 0o700)
        self._upper.add("openat", BASE, b"upper", _FOLDER, 0, result=UPPER_FD)
        self._upper.add("close", ROOT)
        self._over_memory = _overlay(b"/proc/self/fd/%d" % ROOT)
        self._over_nothing = Script()
        self._over_nothing.add("mkdirat", BASE, EMPTY, 0o700)
        self._over_nothing.add("openat", BASE, EMPTY, os.O_PATH | os.O_CLOEXEC, 0, result=ROOT)
        self._over_nothing.extend(_overlay(b"/proc/self/fd/%d" % ROOT))

    def make_upper(self) -> None:
        """The part of a view that does not depend on the memory: a tmpfs (BASE), an empty upper layer (UPPER_FD)."""
        try:
            self._upper.run()
        except OSError as error:
            raise _explained(error, ROOT) from None

    def mount_overlay(self, request: Mapping[str, Any]) -> None:
        """Mount the view (MOUNTED) of the memory that *request* names, or of an empty one, over `make_upper`."""
        if request["owner"] is not None:
            os.fchown(UPPER_FD, *request["owner"])
        if request["memory"] is None:
            over = self._over_nothing
        else:
            folder, over = open_memory(request), self._over_memory
            assert folder == ROOT
            for path in request["hide"]:
                _hide(path.encode("latin-1"), request["owner"])
        try:
            over.run()
        except OSError as error:
            raise _explained(error, MOUNTING) from None


def _hide(path: bytes, owner: tuple[int, int] | None) -> None:
    """Hide the file or folder at *path* of the memory (ROOT) in the view, by a mark in the upper layer."""
    folders = path.split(b"/")[:-1]
    for depth in range(1, len(folders) + 1):
        folder = b"/".join(folders[:depth])
        try:
            mode = stat.S_IMODE(os.stat(folder, dir_fd=ROOT, follow_symlinks=False).st_mode)
            os.mkdir(folder, 0o700, dir_fd=UPPER_FD)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return  # its folder has been removed since
        if owner is not None:
            os.chown(folder, *owner, dir_fd=UPPER_FD)
        os.chmod(folder, mode, dir_fd=UPPER_FD)  # as if the overlay had copied it up
    # Character device 0:0 is the overlay's mark for "deleted".
    os.mknod(path, stat.S_IFCHR, 0, dir_fd=UPPER_FD)


def _overlay(lower: bytes) -> Script:
    script = Script()
    layers: dict[bytes, bytes | None] = {
        b"lowerdir": lower,
        b"upperdir": b"/proc/self/fd/%d/upper" % BASE,
        b"workdir": b"/proc/self/fd/%d/work" % BASE,
        b"userxattr": None,  # the overlay's marks as user.* attributes: an unprivileged mount may not write trusted.*
    }
    _add_mount(script, b"overlay", layers, config=MOUNTING, root=MOUNTED)
    script.add("close", MOUNTING)
    return script


def _add_mount(script: Script, kind: bytes, options: Mapping[bytes, bytes | None], *, config: int, root: int) -> None:
    """Prepare a detached mount; *options* with value None are flags. Its root gets descriptor *root*."""
    script.add("fsopen", kind, CLOEXEC, result=config)
    for key, value in options.items():
        how = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
        script.add("fsconfig", config, how, key, value if value is not None else 0, 0)
    script.add("fsconfig", config, FSCONFIG_CREATE, 0, 0, 0)
    script.add("fsmount", config, CLOEXEC, NOSUID | NODEV | NOEXEC, result=root)


def _explained(error: OSError, config: int) -> OSError:
    """The error of a failed mount, with the kernel's own message about it if it left one."""
    try:
        message = os.read(config, 500).decode("utf-8", "replace").strip()
    except OSError:
        message = ""
    return OSError(error.errno, f"mounting: {message or error.strerror}")


def open_memory(request: Mapping[str, Any]) -> int:
    """Open the memory's folder in this mount namespace.

    Raises:
        OSError: it does not exist here, or the path now leads to another folder than the host's.
    """
    path = request["memory"].encode("latin-1")
    folder = os.open(path, _PLACE)
    info = os.fstat(folder)
    if (info.st_dev, info.st_ino) != (request["device"], request["inode"]):
        raise OSError(errno.ESTALE, "the memory was moved, or something was mounted over it, since the sandbox started")
    return folder


def layered_view(request: Mapping[str, Any], owner: tuple[int, int] | None) -> Mapping[str, Listing]:
    """Open the memory that *request* names (ROOT); the empty folder at BASE will be its layer.

    Returns:
        The contents of the folders that have hidden names; these folders are in the layer too.
    """
    if owner is not None:
        os.fchown(BASE, *owner)
    if request["memory"] is None:
        os.dup2(BASE, ROOT, inheritable=False)
        return {}
    folder = open_memory(request)
    assert folder == ROOT
    listings = _granted(request) if "grants" in request else list_folders(ROOT, paths_of(request["hide"]))
    for path in filter(None, listings):
        os.mkdir(path, 0o700, dir_fd=BASE)
        os.chmod(path, stat.S_IMODE(os.stat(path, dir_fd=ROOT).st_mode) | 0o700, dir_fd=BASE)
        if owner is not None:
            os.chown(path, *owner, dir_fd=BASE)
    return listings


def _granted(request: Mapping[str, Any]) -> Mapping[str, Listing]:
    """What the ruleset at GRANTS and the file at LISTED say, of which only the first stays open."""
    if request["grants"] is None:
        fill(GRANTS, LISTED)
        data: memoryview | None = memoryview(os.pread(LISTED, os.fstat(LISTED).st_size, 0))
        os.close(LISTED)
    else:
        data = map_file(LISTED)
    if data is None:
        raise OSError(errno.ENOMEM, "the listings cannot be mapped")
    return StoredListings(data, request["grants"] or {})


PREFIX = "trioagent-view-"
SHARED_MEMORY = "/dev/shm"
VIEW, INTACT = "view", "intact"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def best_place(room: int, fallback: str) -> str:
    """The folder for views that may need *room* bytes together."""
    try:
        disk = os.statvfs(SHARED_MEMORY)
        if disk.f_bavail * disk.f_frsize >= room and os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return SHARED_MEMORY
    except OSError:
        pass
    return fallback


def remove_left_behind(place: str) -> None:
    """Remove what our user's sandboxes left in *place* when they were killed together with their hosts."""
    try:
        parent = os.open(place, FOLDER)
    except OSError:
        return
    try:
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_unlocked(name, parent)
    finally:
        os.close(parent)


def _remove_if_unlocked(name: str, parent: int) -> None:
    folder = os.open(name, FOLDER, dir_fd=parent)
    try:
        if os.fstat(folder).st_uid == os.geteuid():
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its zygote is alive
            remove_scratch(name, parent)
    finally:
        os.close(folder)


def remove_scratch(name: str, parent: int) -> None:
    """Remove the scratch folder *name* of folder *parent* with all of its views, all of their marks first."""
    with suppress(OSError):
        folder = os.open(name, FOLDER, dir_fd=parent)
        try:
            for view in os.listdir(folder):
                _unmark(view, folder)
        finally:
            os.close(folder)
    remove_tree(name, parent)


def _unmark(name: str, folder: int) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(f"{name}/{INTACT}", dir_fd=folder)


def is_intact(container: int) -> bool:
    """Whether the view in the folder *container* is intact; to be called after the view has been read."""
    try:
        os.stat(INTACT, dir_fd=container, follow_symlinks=False)
    except OSError:
        return False
    return True


class Scratch:
    """A sandbox's folder of views. Each view has its own folder there, with a name that no block can guess.

    Args:
        place: the parent folder.
    """

    def __init__(self, place: str) -> None:
        import tempfile  # only here, since it imports much that a child does not need

        while True:
            self.path = tempfile.mkdtemp(prefix=PREFIX, dir=place)
            try:
                self.folder = os.open(self.path, FOLDER)
            except FileNotFoundError:
                continue  # as below, even earlier
            try:
                fcntl.flock(self.folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(self.path).st_ino == os.fstat(self.folder).st_ino:
                    break
            except OSError:
                pass  # another process took it for one left behind, just before it was locked
            os.close(self.folder)

    def remove(self) -> None:
        """Remove all of it."""
        with suppress(OSError):
            parent = os.open(os.path.dirname(self.path), FOLDER)
            try:
                remove_scratch(os.path.basename(self.path), parent)
            finally:
                os.close(parent)

    def drop(self, name: str) -> Iterator[None]:
        """Remove one view, if it was ever made: its mark at once, the rest in steps."""
        _unmark(name, self.folder)
        return removing_tree(name, self.folder)

    def make(self, name: str) -> tuple[int, int]:
        """Make an empty view. It runs in a child, which has none of the zygote's descriptors, so it uses the path.

        Returns:
            The descriptor of the folder that contains it, and its own.
        """
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o700)
        container = os.open(path, FOLDER)
        os.close(os.open(INTACT, _NEW, 0o600, dir_fd=container))  # first: no view ever exists without it
        os.mkdir(VIEW, 0o700, dir_fd=container)
        return container, os.open(VIEW, FOLDER, dir_fd=container)

    def is_overfull(self, name: str, *, size: int, files: int) -> Generator[None, None, bool]:
        """Whether a running block's view has more than *size* bytes or *files* entries.

        Checks one entry per step; the generator's return value is the result.
        """
        try:
            view = os.open(f"{self.path}/{name}/{VIEW}", FOLDER)
        except OSError:
            return False  # not complete yet
        try:
            for info in walk(view):
                # Neither the apparent size of a sparse file, nor the whole page of a small note.
                files, size = files - 1, size - min(info.st_blocks * 512, info.st_size)
                if files < 0 or size < 0:
                    return True
                yield
        except (TooLarge, PermissionError):
            return True  # such a folder cannot be saved, and may hide anything
        finally:
            os.close(view)
        return False
