"""The file operations of a memory, one system call each and nothing else.

Every disk operation of a commit or a recovery goes through this module (``_fsops.rename(...)``, never an
imported name), so that the tests can count the operations, make the n-th one fail, or die at it. Every function takes
a directory's descriptor and one plain name, never a path: nothing planted in a memory can lead an operation out of it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import signal
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from .._files import CANNOT_RENAME, RENAME_EXCHANGE, RENAME_NOREPLACE, libc, renameat2
from ..tools import Version, version_of, version_of_open

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_READ = 64 * 1024 * 1024
_MAX_STAGED, _PIECE = 1024 * 1024 * 1024, 1024 * 1024
_MARK = "user.trioagent.size"
ACCESS_LIST, _DEFAULT_LIST = "system.posix_acl_access", "system.posix_acl_default"
_AT_SYMLINK_NOFOLLOW, _STATX_MNT_ID, _STATX_BYTES = 0x100, 0x1000, 256
_STATX = struct.Struct("=I4xQ128xQ")  # stx_mask, stx_attributes, stx_mnt_id
_NO_ATTRIBUTES = {
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.ENODATA,
    errno.EACCES,
}  # none exists, or none that this user may read
_NO_LINK = CANNOT_RENAME | {errno.EPERM, errno.EMLINK}
_NOT_A_FILE = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}  # gone, a symbolic link, a socket
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a planted FIFO must not hang us


def open_dir(name: str, dir_fd: int) -> int:
    return os.open(name, _DIR, dir_fd=dir_fd)


def create(name: str, dir_fd: int, mode: int = 0o666) -> int:
    """A new file, open for writing; the process's umask applies to *mode*."""
    return os.open(name, _CREATE, mode, dir_fd=dir_fd)


def open_append(name: str, dir_fd: int) -> int:
    """A regular file for reading and appending, created for its owner alone if it does not exist.

    Raises:
        OSError: among others EINVAL, if it is not a regular file, or has another name somewhere.
    """
    fd = os.open(name, _APPEND, 0o600, dir_fd=dir_fd)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(fd)
        raise OSError(errno.EINVAL, "not a file of its own", name)
    return fd


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Up to *count* bytes from *offset*; fewer only at the end of the file."""
    data = os.pread(fd, count, offset)
    while data and len(data) < count and (more := os.pread(fd, count - len(data), offset + len(data))):
        data += more
    return data


def truncate(fd: int, size: int) -> None:
    os.ftruncate(fd, size)


def write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def chmod(fd: int, mode: int) -> None:
    os.fchmod(fd, mode)


def chown(fd: int, uid: int, gid: int) -> None:
    os.fchown(fd, uid, gid)


def set_times(fd: int, atime_ns: int, mtime_ns: int) -> None:
    os.utime(fd, ns=(atime_ns, mtime_ns))


def fsync(fd: int) -> None:
    os.fsync(fd)


def rename(name: str, dir_fd: int, new_name: str, new_dir_fd: int) -> None:
    os.rename(name, new_name, src_dir_fd=dir_fd, dst_dir_fd=new_dir_fd)


def rename_new(name: str, dir_fd: int, new_name: str, new_dir_fd: int) -> None:
    """Rename to a name that does not exist yet; FileExistsError if it does."""
    try:
        renameat2(dir_fd, name, new_dir_fd, new_name, RENAME_NOREPLACE)
        return
    except OSError as error:
        if error.errno not in CANNOT_RENAME:
            raise
    try:
        os.link(name, new_name, src_dir_fd=dir_fd, dst_dir_fd=new_dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        # No atomic way on this file system: a note made between these two calls would be replaced (`trioagent doctor`).
        if lstat(new_name, new_dir_fd) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from error
        os.rename(name, new_name, src_dir_fd=dir_fd, dst_dir_fd=new_dir_fd)
        return
    os.unlink(name, dir_fd=dir_fd)


def exchange(name: str, dir_fd: int, other: str, other_dir_fd: int) -> bool:
    """Exchange two names atomically; False, and nothing done, if the file system cannot."""
    try:
        renameat2(dir_fd, name, other_dir_fd, other, RENAME_EXCHANGE)
    except OSError as error:
        if error.errno in CANNOT_RENAME:
            return False
        raise
    return True


def unlink(name: str, dir_fd: int) -> None:
    os.unlink(name, dir_fd=dir_fd)


def mkdir(name: str, dir_fd: int, mode: int = 0o777) -> None:
    os.mkdir(name, mode, dir_fd=dir_fd)


def rmdir(name: str, dir_fd: int) -> None:
    os.rmdir(name, dir_fd=dir_fd)


def fstat(fd: int) -> os.stat_result:
    return os.fstat(fd)


def lstat(name: str, dir_fd: int) -> os.stat_result | None:
    """None if the name does not exist."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise


def may_change(dir_fd: int) -> bool:
    """Whether this process may make and remove entries in the directory."""
    return os.access(".", os.W_OK | os.X_OK, dir_fd=dir_fd, effective_ids=True)


def read(name: str, dir_fd: int, limit: int = MAX_READ) -> bytes | None:
    """The content of a regular file; None if it is anything else, or does not exist.

    Raises:
        OSError: among others EFBIG, for more than *limit* bytes (a sparse file may claim any size, and costs nothing).
    """
    fd = _open_regular(name, dir_fd)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        if size <= limit:
            data = os.read(fd, size + 1)
            if len(data) == size:  # one byte more was asked for: this is the end
                return data
            while len(data) <= limit and (more := os.read(fd, _PIECE)):  # somebody is changing it
                data += more
            if len(data) <= limit:
                return data
        raise OSError(errno.EFBIG, f"{name!r} has more than {limit:,} bytes")
    finally:
        os.close(fd)


def version(name: str, dir_fd: int) -> Version | None:
    """The version of a note; None if it does not exist. Other kinds of files have one too, which tells their kind."""
    status = lstat(name, dir_fd)
    if status is None:
        return None
    if stat.S_ISLNK(status.st_mode):
        return f"link-{version_of(os.fsencode(os.readlink(name, dir_fd=dir_fd)))}"
    fd = _open_regular(name, dir_fd) if stat.S_ISREG(status.st_mode) else None
    if fd is None:
        return "special"
    try:
        return version_of_open(fd)
    finally:
        os.close(fd)


def settled_version(name: str, dir_fd: int) -> Version | None:
    """As :func:`version`, but None as well while another program has the file open for writing.

    Detected by asking for a read lease, which the kernel refuses then. Only a file's owner can ask; for others, and on
    a file system without leases, a writer goes unnoticed.
    """
    try:
        fd = _open_regular(name, dir_fd)
    except OSError:
        fd = None
    if fd is None:
        return version(name, dir_fd)
    try:
        try:
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # ignored by default; SIGIO would end the process
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EBUSY):
                return None
        try:
            return version_of_open(fd)
        finally:
            try:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            except OSError:
                pass  # there was none
    finally:
        os.close(fd)


class FileAttributes(NamedTuple):
    """What forbids changes besides the permissions, from statx(2)."""

    immutable: bool = False
    append_only: bool = False
    mount_root: bool = False
    mount: int = 0  # the number of its mount; 0 if the kernel does not tell


def attributes(name: str, dir_fd: int) -> FileAttributes:
    """Of a name in a folder, or of the folder itself (``"."``); all unset if the system cannot tell."""
    function = getattr(libc(), "statx", None)
    if function is None:
        return FileAttributes()
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if function(dir_fd, os.fsencode(name), _AT_SYMLINK_NOFOLLOW, _STATX_MNT_ID, found) != 0:
        return FileAttributes()
    mask, flags, mount = _STATX.unpack_from(found)
    has_mount = mask & _STATX_MNT_ID
    return FileAttributes(bool(flags & 0x10), bool(flags & 0x20), bool(flags & 0x2000), mount if has_mount else 0)


def sha256(name: str, dir_fd: int) -> str | None:
    """The SHA-256 of a regular file, as in records of format 1; None if it is anything else, or too large."""
    fd = _open_regular(name, dir_fd)
    if fd is None:
        return None
    try:
        if os.fstat(fd).st_size > _MAX_STAGED:
            return None
        digest = hashlib.sha256()
        while data := os.read(fd, _PIECE):
            digest.update(data)
        return digest.hexdigest()
    finally:
        os.close(fd)


def _open_regular(name: str, dir_fd: int) -> int | None:
    """A descriptor of a regular file; None if it is anything else, or does not exist."""
    try:
        fd = os.open(name, _READ, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def mark(fd: int) -> bytes:
    """The mark that :func:`set_mark` left on a folder; empty if none, or if the file system keeps no such marks."""
    if not hasattr(os, "getxattr"):  # not Linux
        return b""
    try:
        return os.getxattr(fd, _MARK)
    except OSError:
        return b""


def set_mark(fd: int, data: bytes) -> None:
    """Leave *data* on a folder, for :func:`mark`.

    Raises:
        OSError: the file system does not allow it.
    """
    if not hasattr(os, "setxattr"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    os.setxattr(fd, _MARK, data)


def kept_attributes(name: str, dir_fd: int) -> dict[str, bytes]:
    """Attributes of a file besides its content and mode: its access list, and the marks that programs left on it."""
    if not hasattr(os, "listxattr"):
        return {}
    fd = _open_regular(name, dir_fd)
    if fd is None:
        return {}
    try:
        names = os.listxattr(fd)
        return {each: os.getxattr(fd, each) for each in names if each == ACCESS_LIST or each.startswith("user.")}
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return {}
        raise
    finally:
        os.close(fd)


def default_access_list(dir_fd: int) -> bytes:
    """The default access list of a folder for new files; empty if none."""
    if not hasattr(os, "getxattr"):
        return b""
    try:
        return os.getxattr(dir_fd, _DEFAULT_LIST)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return b""
        raise


def set_attribute(fd: int, name: str, value: bytes) -> None:
    os.setxattr(fd, name, value)


def path_of(fd: int) -> str:
    """The path of the folder or file of a descriptor, for error texts; not to open it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        command = getattr(fcntl, "F_GETPATH", None)  # macOS
        if command is None:
            return f"the folder behind descriptor {fd}"
        return os.fsdecode(fcntl.fcntl(fd, command, b"\0" * 1024).rstrip(b"\0"))


def names(fd: int) -> list[str]:
    return os.listdir(fd)


def entries(fd: int) -> Iterator[tuple[str, bool, int]]:
    """The entries of a directory: name, whether it is a directory, size of a regular file (else 0)."""
    with os.scandir(fd) as listing:
        for entry in listing:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name, True, 0
            elif entry.is_file(follow_symlinks=False):
                try:
                    yield entry.name, False, entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # an outside program removed it meanwhile
                    continue
            else:
                yield entry.name, False, 0


def close(fd: int) -> None:
    os.close(fd)
