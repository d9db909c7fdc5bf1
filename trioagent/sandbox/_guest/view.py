"""A private, writable view of one memory at a cost that does not depend on its size: an overlay over a small tmpfs.

Both are detached mounts: they have no place in any mount table and vanish with their last descriptor. What the block
changes lies in the upper layer and nowhere else; the host reads it from there once the block is dead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Any

from .descriptors import BASE, MOUNTED, MOUNTING, ROOT, TOLD
from .syscalls import Script

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CREATE = 0, 1, 6
CLOEXEC = 1
NOSUID, NODEV, NOEXEC = 2, 4, 8
OWN_FILES = 8  # folders we make in the tmpfs ourselves, and the overlay's work files
HIDDEN = b".trioagent"  # the memory's own book-keeping, if a commit was interrupted
EMPTY = b"empty"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class View:
    """The calls that make a view, prepared.

    Args:
        size, files: what the upper layer may hold, in bytes and in files and folders.
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
        self._upper.add("openat", BASE, b"upper", _FOLDER, 0, result=TOLD)
        self._upper.add("close", ROOT)
        self._hide = Script()
        # Character device 0:0 is the overlay's mark for "deleted".
        self._hide.add("mknodat", TOLD, HIDDEN, stat.S_IFCHR, 0)
        self._over_memory = _overlay(b"/proc/self/fd/%d" % ROOT)
        self._over_nothing = Script()
        self._over_nothing.add("mkdirat", BASE, EMPTY, 0o700)
        self._over_nothing.add("openat", BASE, EMPTY, os.O_PATH | os.O_CLOEXEC, 0, result=ROOT)
        self._over_nothing.extend(_overlay(b"/proc/self/fd/%d" % ROOT))

    def make_upper(self) -> None:
        """What a view needs besides the memory: a tmpfs (BASE) with an empty upper layer (TOLD)."""
        try:
            self._upper.run()
        except OSError as error:
            raise _explained(error, ROOT) from None

    def lay_over(self, order: Mapping[str, Any]) -> None:
        """Make the view (MOUNTED) of the memory that *order* names, or of an empty one, with what `make_upper` made."""
        if order["hide"]:
            self._hide.run()
        if order["owner"] is not None:
            os.fchown(TOLD, *order["owner"])
        if order["memory"] is None:
            over = self._over_nothing
        else:
            folder, over = open_memory(order), self._over_memory
            assert folder == ROOT
        try:
            over.run()
        except OSError as error:
            raise _explained(error, MOUNTING) from None


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
    """The error of a mount that failed, with the kernel's own message about it if it left one."""
    try:
        words = os.read(config, 500).decode("utf-8", "replace").strip()
    except OSError:
        words = ""
    return OSError(error.errno, f"mounting: {words or error.strerror}")


def open_memory(order: Mapping[str, Any]) -> int:
    """The memory's folder as this mount namespace has it.

    Raises:
        OSError: it is not here, or the path now leads to another folder than the one the host holds.
    """
    path = order["memory"].encode("latin-1")
    folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.fstat(folder)
    if (info.st_dev, info.st_ino) != (order["device"], order["inode"]):
        raise OSError(errno.ESTALE, "the memory was moved, or something was mounted over it, since the sandbox started")
    return folder
