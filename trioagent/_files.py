"""Paths as users write them, and files and folders of our own: written whole or not at all, and removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ._errors import InvalidInputError


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
    """Put *data* in the place of whatever *path* holds; on failure that stays as it was.

    Args:
        path: the file; its folder must exist.
        data: all of its content.
        sync: flush the file, and then its folder, to the disk, so that the new content survives a power cut.

    Raises:
        OSError: the system refused. If only the flush of the folder failed, the new content is there already, but a
            power cut may still bring back the old one.
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


def _flush_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename is durable by itself
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
