"""A private, writable view of one memory at a cost that does not depend on its size: an overlay over a small tmpfs.

Both are detached mounts: they have no place in any mount table and vanish with their last descriptor. What the block
changes lies in the upper layer and nowhere else; the host reads it from there once the block is dead.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from .syscalls import call

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CREATE = 0, 1, 6
CLOEXEC = 1
NOSUID, NODEV, NOEXEC = 2, 4, 8
OWN_FILES = 8  # folders we make in the tmpfs ourselves, and the overlay's work files
HIDDEN = ".trioagent"  # the memory's own book-keeping, if a commit was interrupted


def _mount(kind: bytes, options: dict[bytes, bytes | None]) -> int:
    """Make a detached mount; *options* with value None are flags. Returns its root as a descriptor."""
    config = call("fsopen", kind, CLOEXEC)
    try:
        for key, value in options.items():
            how = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
            call("fsconfig", config, how, key, value, 0)
        call("fsconfig", config, FSCONFIG_CREATE, None, None, 0)
        return call("fsmount", config, CLOEXEC, NOSUID | NODEV | NOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"mounting {kind.decode()}: {_kernel_words(config) or error.strerror}") from None
    finally:
        os.close(config)


def _kernel_words(config: int) -> str:
    """The kernel's own message about a mount that failed, "" if it left none."""
    try:
        return os.read(config, 500).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def open_memory(order: dict[str, Any]) -> int | None:
    """The memory's folder as this mount namespace has it, or None for none.

    Raises:
        OSError: it is not here, or the path now leads to another folder than the one the host holds.
    """
    if order["memory"] is None:
        return None
    path = order["memory"].encode("latin-1")
    folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.fstat(folder)
    if (info.st_dev, info.st_ino) != (order["device"], order["inode"]):
        raise OSError(errno.ESTALE, "the memory was moved, or something was mounted over it, since the sandbox started")
    return folder


def make_upper(*, size: int, files: int) -> tuple[int, int]:
    """What a view needs besides the memory, which may be ready before it is known: a tmpfs with an empty upper layer.

    Args:
        size, files: what the layer may hold, in bytes and in files and folders.

    Returns:
        Descriptors of the tmpfs' root and of the upper layer's.
    """
    limits: dict[bytes, bytes | None] = {
        b"size": str(size).encode(),
        b"nr_inodes": str(files + OWN_FILES).encode(),
        b"mode": b"700",
    }
    disk = _mount(b"tmpfs", limits)
    for name in ("upper", "work"):
        os.mkdir(name, 0o700, dir_fd=disk)
    return disk, os.open("upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=disk)


def lay_over(memory: int | None, disk: int, upper: int, *, hide: bool, owner: tuple[int, int] | None) -> int:
    """Make the view of the folder behind descriptor *memory*, or of an empty one, with what `make_upper` made.

    Args:
        hide: put a whiteout over the memory's own ``.trioagent``.
        owner: who owns the view's root, if not we ourselves.

    Returns:
        The descriptor of the view's root.
    """
    if hide:
        os.mknod(HIDDEN, stat.S_IFCHR, 0, dir_fd=upper)  # character device 0:0 is the overlay's mark for "deleted"
    if owner is not None:
        os.fchown(upper, *owner)
    if memory is None:
        os.mkdir("empty", 0o700, dir_fd=disk)
    lower = f"/proc/self/fd/{memory}" if memory is not None else f"/proc/self/fd/{disk}/empty"
    layers: dict[bytes, bytes | None] = {
        b"lowerdir": lower.encode(),
        b"upperdir": f"/proc/self/fd/{disk}/upper".encode(),
        b"workdir": f"/proc/self/fd/{disk}/work".encode(),
        b"userxattr": None,  # the overlay's marks as user.* attributes: an unprivileged mount may not write trusted.*
    }
    return _mount(b"overlay", layers)
