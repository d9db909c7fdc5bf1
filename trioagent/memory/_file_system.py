"""Whether a folder lies on a network file system, known by the type that the kernel reports for it.

An operation on such a file system may wait for a server for any length of time, so it never runs on the event loop.
"""

from __future__ import annotations

import ctypes
import sys

from .._files import libc

# f_type of statfs(2) as in linux/magic.h, and of file systems outside the kernel's tree. FUSE counts as one: what
# answers is a program, often one that asks a server (sshfs, rclone, GlusterFS, s3fs).
_NETWORK_TYPES = frozenset(
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
_STATFS_BYTES = 256  # more than struct statfs has on any machine


def is_network_type(file_system_type: int) -> bool:
    """Whether this ``f_type`` of statfs(2) is that of a file system behind a network."""
    return file_system_type & 0xFFFFFFFF in _NETWORK_TYPES


def on_network(fd: int) -> bool:
    """Whether the folder behind a descriptor lies on a network file system; False where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return False
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc().fstatfs(fd, buffer) != 0:
        return False
    return is_network_type(ctypes.c_long.from_buffer(buffer).value)
