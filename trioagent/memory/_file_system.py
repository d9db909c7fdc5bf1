"""The kind of file system that a folder is on.

A network file system is recognised by the type that the kernel reports for it: an operation there may wait for
a server for any length of time, so it never runs on the event loop. Whether several spellings are one name is
tested by looking up another spelling of an existing name.
"""

from __future__ import annotations

import ctypes
import os
import string
import sys
from collections.abc import Iterator
from unicodedata import normalize

from .._files import libc
from . import _fsops

# f_type of statfs(2) as in linux/magic.h, and of file systems outside the kernel's tree. FUSE counts as one: a
# program answers, which often asks a server (sshfs, rclone, GlusterFS, s3fs).
NETWORK_TYPES = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x01021997,  # 9P
        0x00C36400,  # Ceph
        0x65735546,  # FUSE
        0x5346414F,  # OpenAFS
        0x6B414653,  # AFS of the kernel
        0x73757245,  # Coda
        0x564C,  # NCP
        0x7461636F,  # OCFS2
        0x01161970,  # GFS2
        0x0BD00BD0,  # Lustre
        0x19830326,  # BeeGFS
        0x47504653,  # GPFS
        0x20030528,  # OrangeFS
        0x786F4256,  # VirtualBox's shared folders
        0xBACBACBC,  # VMware's
    }
)
"""What `is_network_type` and `on_network` take for a network file system."""

_STATFS_BYTES = 256  # more than struct statfs has on any machine


def is_network_type(file_system_type: int, network_types: frozenset[int] = NETWORK_TYPES) -> bool:
    """Whether this ``f_type`` of statfs(2) is that of a network file system."""
    return file_system_type & 0xFFFFFFFF in network_types


def on_network(fd: int, network_types: frozenset[int] = NETWORK_TYPES) -> bool:
    """Whether the folder of a descriptor is on a network file system; False if the system does not tell."""
    if not sys.platform.startswith("linux"):
        return False
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc().fstatfs(fd, buffer) != 0:
        return False
    return is_network_type(ctypes.c_long.from_buffer(buffer).value, network_types)


_OTHER_CASE = {ord(char): char.swapcase() for char in string.ascii_letters}
_IGNORED = "\u200b"  # an invisible character, which file systems that fold names ignore


def folds_names(dir_fd: int, name: str) -> bool:
    """Whether the entry *name* of a folder is found under another case, form or spelling of that name, too."""
    for other in _other_spellings(name):  # normally there is none
        found = _fsops.lstat(other, dir_fd)
        status = None if found is None else _fsops.lstat(name, dir_fd)
        if found is not None and status is not None and os.path.samestat(found, status):
            return True
    return False


def kept_name(dir_fd: int, name: str) -> str:
    """The name as stored in the folder of the entry that *name* finds; differs only if the file system folds names."""
    if not folds_names(dir_fd, name):
        return name
    names = _fsops.names(dir_fd)
    if name in names:
        return name
    by_letters = next((each for each in names if folded(each) == folded(name)), None)
    return _same_file(dir_fd, names, name) if by_letters is None else by_letters


def _same_file(dir_fd: int, names: list[str], name: str) -> str:
    """Which of *names* is the entry that *name* finds; FAT and NTFS find ``.git`` as ``GIT~1``, too."""
    status = _fsops.lstat(name, dir_fd)
    found = ((each, _fsops.lstat(each, dir_fd)) for each in names)
    same = (each for each, other in found if status and other and os.path.samestat(status, other))
    return next(same, name)


def folded(name: str) -> str:
    """A key that is equal for names, or paths, that are one on a file system that folds names."""
    return normalize("NFC", normalize("NFC", name).replace(_IGNORED, "").casefold())


def _other_spellings(name: str) -> Iterator[str]:
    cased = name.swapcase() if name.isascii() else name.translate(_OTHER_CASE)
    yield cased if cased != name else name + _IGNORED
    if not name.isascii():
        yield from {normalize("NFC", name), normalize("NFD", name)} - {name}
