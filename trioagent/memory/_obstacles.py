"""Obstacles that would stop a commit half-way, checked before it begins: permissions, mounts and file attributes."""

from __future__ import annotations

import errno
import os
import stat

from .._errors import MemoryProtectedError
from . import _fsops
from ._paths import Folders, split
from ._plan import CommitPlan

_REASONS = {
    errno.EPERM: "the system does not permit a change (it is somebody else's, or protected)",
    errno.EACCES: "its folder is not writable",
    errno.EXDEV: "it is on another file system than the memory",
    errno.EBUSY: "it is in use by the system, as a mount point is",
    errno.ETXTBSY: "it is in use by the system",
}


def reason_of(error: OSError) -> str | None:
    """Why this one note or folder cannot be changed; None for errors that are not about a single one."""
    return _REASONS.get(error.errno or 0)


def check_places(plan: CommitPlan, folders: Folders) -> None:
    """Refuse a plan that the system would refuse, as far as that can be known beforehand.

    Raises:
        MemoryProtectedError: names the note or folder, and what protects it.
    """
    if not _fsops.may_change(folders.root_fd):
        raise MemoryProtectedError(".", "the memory is read-only for this user, or is on a read-only file system")
    mount = _fsops.attributes(".", folders.root_fd).mount
    device = _fsops.fstat(folders.root_fd).st_dev
    for path in sorted(plan.touched()):
        fd = folders.at(path)
        if fd is not None:  # else it will be created
            _check_folder(path or ".", fd, device, mount)
    for path in sorted((*plan.deletes, *plan.replaced)):
        found = plan.before(path)
        if found is not None:
            _check_entry(path, found.status, folders)
    for folder in plan.removed:
        status = folders.status(folder.path)
        if status is not None:
            _check_entry(folder.path, status, folders)


def _check_folder(path: str, fd: int, device: int, mount: int) -> None:
    if not _fsops.may_change(fd):
        raise MemoryProtectedError(path, "this folder is not writable")
    attributes = _fsops.attributes(".", fd)
    if attributes.mount != mount or _fsops.fstat(fd).st_dev != device:
        raise MemoryProtectedError(path, "this folder is mounted from elsewhere; its notes can only be read")
    if attributes.immutable or attributes.append_only:
        raise MemoryProtectedError(path, "this folder is write-protected (chattr +i or +a)")


def _check_entry(path: str, status: os.stat_result, folders: Folders) -> None:
    folder, name = split(path)
    fd = folders.at(folder)
    if fd is None:
        return
    attributes = _fsops.attributes(name, fd)
    if attributes.immutable or attributes.append_only:
        raise MemoryProtectedError(path, "it is write-protected (chattr +i or +a)")
    if attributes.mount_root:
        raise MemoryProtectedError(path, "it is a mount point")
    above = _fsops.fstat(fd)
    if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, above.st_uid, status.st_uid):
        raise MemoryProtectedError(path, "it is somebody else's, in a folder where only owners may replace and delete")
