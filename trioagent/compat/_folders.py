"""Paths given by programs of the documented API: memories, the current folder, folders for saved conversations."""

from __future__ import annotations

import os
from pathlib import Path

from .._errors import InvalidInputError
from .._files import user_path
from . import _configuration, settings

MEMORY_FOLDER = "memory"


def memory_folder(memory_path: str | os.PathLike[str] | None, *, predetermined: bool) -> str:
    """The absolute path of a memory: absolute paths unchanged, others relative to the memory root.

    Args:
        memory_path: None for the default memory, which is below ``memory/`` whatever the root is.
        predetermined: a relative path is below ``memory/`` whatever the root is, and may lead out of it.

    Raises:
        InvalidInputError: it is not a path, or a relative one that leads out of the root; or the current folder has
            been deleted.
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
            f"{os.fspath(name)!r} is not below {base!r}, where memories are; for a folder elsewhere give its "
            "absolute path",
        )
    return path


def make_folder(path: str | os.PathLike[str], what: str) -> None:
    """Create a folder and its parents; an existing one is left as it is.

    Raises:
        InvalidInputError: *path* is not a path, or the folder cannot be created.
    """
    folder = absolute(path, what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(what, f"the folder {str(folder)!r} cannot be created: {error.strerror}") from None


def absolute(path: str | os.PathLike[str], what: str) -> Path:
    """*path* as an absolute path.

    Raises:
        InvalidInputError: it is not a path; or it is relative, and the current folder has been deleted.
    """
    found = user_path(path_text(path, what), what)
    try:
        return Path(os.path.abspath(found))
    except FileNotFoundError:
        raise InvalidInputError(
            what, f"{os.fspath(found)!r} cannot be found: the current folder has been deleted; give an absolute path"
        ) from None


def real_folder(path: str | os.PathLike[str], what: str) -> str:
    """*path* as an absolute path with symbolic links resolved, since programs may name a memory by a link.

    Raises:
        InvalidInputError: see `absolute`.
    """
    return os.path.realpath(absolute(path, what))


def path_text(path: object, what: str) -> str:
    """*path* as text.

    Raises:
        InvalidInputError: it is not a path.
    """
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInputError(what, f"must be a folder's path, not {path!r:.100}")
    return name
