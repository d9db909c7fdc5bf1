"""The file operations of a memory, one system call each and nothing else.

Everything that a commit or a recovery does to the disk goes through this module (``_fsops.rename(...)``, never an
imported name), so that the tests can count the operations, make the n-th one fail, or die at it. Every function takes
a directory's descriptor and one plain name, never a path: nothing planted in a memory can lead an operation out of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_READ = 64 * 1024 * 1024
_MAX_STAGED, _PIECE = 1024 * 1024 * 1024, 1024 * 1024
_MARK = "user.trioagent.size"
_NOT_A_FILE = {errno.ENOENT, errno.ELOOP, errno.ENXIO}  # gone, a symbolic link, a socket
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a planted FIFO must not hang us


def open_dir(name: str, dir_fd: int) -> int:
    return os.open(name, _DIR, dir_fd=dir_fd)


def create(name: str, dir_fd: int, mode: int = 0o666) -> int:
    """A new file, open for writing; the process's umask applies to *mode*."""
    return os.open(name, _CREATE, mode, dir_fd=dir_fd)


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


def unlink(name: str, dir_fd: int) -> None:
    os.unlink(name, dir_fd=dir_fd)


def mkdir(name: str, dir_fd: int, mode: int = 0o777) -> None:
    os.mkdir(name, mode, dir_fd=dir_fd)


def rmdir(name: str, dir_fd: int) -> None:
    os.rmdir(name, dir_fd=dir_fd)


def fstat(fd: int) -> os.stat_result:
    return os.fstat(fd)


def lstat(name: str, dir_fd: int) -> os.stat_result | None:
    """None if there is nothing of that name."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise


def may_change(dir_fd: int) -> bool:
    """May this process make and remove entries in the directory?"""
    return os.access(".", os.W_OK | os.X_OK, dir_fd=dir_fd, effective_ids=True)


def read(name: str, dir_fd: int, limit: int = MAX_READ) -> bytes | None:
    """The content of a regular file; None if it is anything else, or nothing.

    Raises:
        OSError: among others EFBIG, for more than *limit* bytes (a sparse file may claim any size, and costs nothing).
    """
    fd = _open_regular(name, dir_fd)
    if fd is None:
        return None
    try:
        with open(fd, "rb", closefd=False) as file:
            data = file.read(limit + 1) if os.fstat(fd).st_size <= limit else None
        if data is None or len(data) > limit:
            raise OSError(errno.EFBIG, f"{name!r} has more than {limit:,} bytes")
        return data
    finally:
        os.close(fd)


def sha256(name: str, dir_fd: int) -> str | None:
    """The hash of a regular file, a piece at a time; None if it is anything else, nothing, or too large to be ours."""
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
    """A descriptor of a regular file; None if it is anything else, or nothing."""
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
    """What :func:`set_mark` left on a folder; empty if nothing, or if the file system keeps no such marks."""
    try:
        return os.getxattr(fd, _MARK)
    except OSError:
        return b""


def set_mark(fd: int, data: bytes) -> None:
    os.setxattr(fd, _MARK, data)


def names(fd: int) -> list[str]:
    return os.listdir(fd)


def entries(fd: int) -> Iterator[tuple[str, bool, int]]:
    """What lies in a directory: name, is it a directory, size of a regular file (else 0)."""
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
