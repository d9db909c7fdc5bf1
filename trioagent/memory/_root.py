"""Whether a folder can be used as a memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .._errors import MemoryPathError, MemoryStorageError
from . import _fsops
from ._file_system import on_network

OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""Errors of a process or machine that is short of a resource; not the memory's fault."""

_NOT_THE_PATHS_FAULT = OUT_OF_RESOURCES | {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_memory_path(path: str | os.PathLike[str], create: bool = False, *, read_only: bool = False) -> None:
    """Raise unless *path* is a folder that can be a memory. With *create* a missing one is created, with its parents.

    Raises:
        MemoryPathError: it is empty, a file, a symbolic link, missing (without *create*), not readable, or, unless
            *read_only*, not writable.
    """
    _check_folder(checked_path(path), create=create, read_only=read_only)


def check_usable(path: Path, *, read_only: bool) -> bool | None:
    """Raise unless blocks can work on the memory at an absolute path, which need not exist; nothing is created.

    Args:
        read_only: they only read it.

    Returns:
        Whether it lies on a local file system; None if it does not exist.

    Raises:
        MemoryPathError: as `check_memory_path`; or the folder could not be created.
    """
    if os.path.lexists(path):
        return _check_folder(path, create=False, read_only=read_only)
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise MemoryPathError(str(path), _why(path, NotADirectoryError()))
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        raise MemoryPathError(str(path), f"it cannot be made: {str(above)!r} is not writable by {_this_user()}")
    return None


def _check_folder(path: Path, *, create: bool, read_only: bool) -> bool:
    fd = open_root(path, create=create)
    try:
        if not read_only and not _fsops.may_change(fd):
            raise MemoryPathError(str(path), _not_writable())
        return not on_network(fd)
    finally:
        os.close(fd)


def is_writable(path: Path) -> bool:
    """Whether this user may make and remove notes in the folder *path*."""
    return os.access(path, os.W_OK | os.X_OK, effective_ids=True)


def _not_writable() -> str:
    return (
        f"it is not writable by {_this_user()}; check its permissions, or let agents only read it "
        "(VaultPolicy(read_only=True), --read-only)"
    )


def _this_user() -> str:
    return f"this user (uid {os.geteuid()})"


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path, without accessing the disk."""
    text = os.fspath(path)
    if isinstance(path, Path) and path.is_absolute() and "\0" not in text:
        return path  # its text would give the same path
    if not isinstance(text, str):
        raise MemoryPathError(repr(text), "it must be text, not bytes")
    if not text:
        raise MemoryPathError(text, "it is empty; name a folder")
    if "\0" in text:
        raise MemoryPathError(text, "it has a NUL character in it; name a folder")
    try:
        return Path(text).expanduser().absolute()  # ".." stays, since its meaning depends on symbolic links
    except RuntimeError as error:  # "~nobody"
        raise MemoryPathError(text, str(error)) from error


def open_ready(path: Path) -> int | None:
    """A descriptor of an existing folder, by one system call; None: see `open_root`."""
    try:
        return os.open(path, _OPEN)
    except OSError:
        return None


def open_root(path: Path, *, create: bool) -> int:
    """A descriptor of the memory's folder.

    Raises:
        MemoryPathError: it is empty, a file, a symbolic link, missing (without *create*), or not readable.
        MemoryStorageError: the disk is full or broken, or this process has too many files open.
    """
    try:
        try:
            fd = os.open(path, _OPEN)
        except FileNotFoundError:
            if not create or path.is_symlink():
                raise
            path.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, _OPEN)
    except OSError as error:
        if error.errno in _NOT_THE_PATHS_FAULT:
            raise MemoryStorageError(str(path), error.errno, error.strerror or "") from error
        raise MemoryPathError(str(path), _why(path, error)) from error
    return fd


def _why(path: Path, error: OSError) -> str:
    try:
        if path.is_symlink():
            return f"it is a symbolic link to {os.readlink(path)!r}; give the real folder"
        if path.exists() and not path.is_dir():
            return "it is a file, not a folder; give the folder that holds the notes"
        for above in path.parents:
            if above.exists() and not above.is_dir():
                return f"{str(above)!r} is a file, not a folder"
    except OSError:
        pass  # the original error has the reason
    if isinstance(error, FileNotFoundError):
        return "there is no such folder"
    if isinstance(error, PermissionError):
        return f"{_this_user()} may not open it; check its permissions and those of the folders above"
    return error.strerror or str(error)
