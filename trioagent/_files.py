"""Paths as users write them; atomic writes and removal of our own files and folders."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from ._errors import InvalidInputError

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
CANNOT_RENAME = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""The error numbers of `renameat2` on a file system without such an operation."""
_AT_FDCWD = -100


def user_path(path: str | os.PathLike[str], what: str) -> Path:
    """*path* with a ``~`` or ``~user`` at its beginning replaced by that home folder (write ``./~`` for the name).

    Raises:
        InvalidInputError: there is no such user, or no home folder is known. *what* names the setting.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidInputError(what, f"{os.fspath(path)!r} cannot be used: {error}") from error


def write_whole(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replace the file at *path* with *data*, atomically; on failure it is unchanged.

    Args:
        path: the file; its folder must exist.
        data: all of its content.
        sync: flush the file, and then its folder, to the disk, so that the new content survives a power cut.

    Raises:
        OSError: the system refused. If only the flush of the folder failed, the new content is in place, but a
            power cut may still restore the old one.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _flush_folder(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours; no error if there is none. Synchronous; for a worker thread."""
    if path.exists():
        shutil.rmtree(path)


def replace_folder(new: Path, old: Path) -> None:
    """Replace folder *old* with *new* atomically, and remove the old one. Synchronous.

    On a file system that cannot exchange two names, *old* is missing for a moment; if the process dies then,
    the old folder is beside it under a name that begins with a dot and ends in ``.old``.

    Args:
        new: a folder in the same file system as *old*.
        old: a folder, or nothing yet.

    Raises:
        OSError: the system refused, and *old* is unchanged.
    """
    try:
        new.rename(old)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    former = new
    try:
        renameat2(_AT_FDCWD, str(new), _AT_FDCWD, str(old), RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in CANNOT_RENAME:
            raise
        former = old.with_name(f".{old.name}.old")
        remove_tree(former)
        old.rename(former)
        try:
            new.rename(old)
        except BaseException:
            former.rename(old)
            raise
    remove_tree(former)


def renameat2(dir_fd: int, name: str, new_dir_fd: int, new_name: str, flags: int) -> None:
    """renameat2(2), which is not in Python's os module.

    Raises:
        OSError: with a number of `CANNOT_RENAME` if the system or the file system has no such operation.
    """
    function = getattr(libc(), "renameat2", None)  # from glibc 2.28 on
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(dir_fd, os.fsencode(name), new_dir_fd, os.fsencode(new_name), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new_name)


@cache
def libc() -> Any:
    """The C library, for system calls that are not in Python's os module."""
    return ctypes.CDLL(None, use_errno=True)


def _flush_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename is durable by itself
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
