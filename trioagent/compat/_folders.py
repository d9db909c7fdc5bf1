"""Paths that programs of the documented API name: memories, the current folder, where conversations are saved."""

from __future__ import annotations

import os
from pathlib import Path

from .._errors import InvalidInputError
from .._files import user_path
from . import _configuration, settings

MEMORY_FOLDER = "memory"


def memory_folder(memory_path: str | os.PathLike[str] | None, *, predetermined: bool) -> str:
    """Where a memory lies: an absolute path as it is, any other below the memory root.

    Args:
        memory_path: None for the default memory, which is below ``memory/`` whatever the root is.
        predetermined: the path is below ``memory/`` whatever the root is, and may lead out of it.

    Raises:
        InvalidInputError: it is no path, or a relative one that leads out of the root; or the current folder has been
            deleted.
    """
    name = user_path(
        path_text(settings.MEMORY_PATH if memory_path is None else memory_path, "memory_path"), "memory_path"
    )
    if name.is_absolute():
        return os.path.normpath(name)
    root = MEMORY_FOLDER if predetermined or memory_path is None else _configuration.memory_root()
    base = str(absolute(root, "memory_path"))
    path = os.path.normpath(os.path.join(base, name))
    as_written = os.path.normpath(root) == os.curdir
    if not predetermined and not as_written and not path.startswith(os.path.join(base, "")):
        raise InvalidInputError(
            "memory_path",
            f"{os.fspath(name)!r} does not lie below {base!r}, where memories are; for a folder elsewhere give its "
            "absolute path",
        )
    return path


def make_folder(path: str | os.PathLike[str], what: str) -> None:
    """Make a folder and those above it; one that is there stays as it is.

    Raises:
        InvalidInputError: *path* is no path, or the file system refuses.
    """
    folder = absolute(path, what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(what, f"{str(folder)!r} cannot be made a folder: {error.strerror}") from None


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """*path* from the root on.

    Raises:
        InvalidInputError: it is no path; or it is relative, and the current folder has been deleted.
    """
    found = user_path(path_text(path, what), what)
    try:
        return Path(os.path.abspath(found))
    except FileNotFoundError:
        raise InvalidInputError(
            what, f"{os.fspath(found)!r} cannot be found: the current folder has been deleted; give an absolute path"
        ) from None


def real_folder(path: str | os.PathLike[str], what: str) -> str:
    """*path* from the root on, with symbolic links followed: programs may name a memory by one.

    Raises:
        InvalidInputError: see `absolute`.
    """
    return os.path.realpath(absolute(path, what))


def path_text(path: object, what: str) -> str:
    """*path* as text.

    Raises:
        InvalidInputError: it is no path.
    """
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInputError(what, f"must be a folder's path, not {path!r:.100}")
    return name
