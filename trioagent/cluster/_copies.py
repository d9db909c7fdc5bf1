"""Copies of memories on a worker: plain folders in the state that the driver describes; blocks have views over them.

Contents are stored in files named by their hash, and a note in a copy is a hard link to one: two memories with the same
note, such as copies made for evaluation, share it. Blocks never write to these files.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ._protocol import CopyChange

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Copies:
    """Synchronous. Calls for one memory must be serialised; calls for different memories may run in parallel threads.

    Args:
        place: an empty folder of this worker's own.
    """

    def __init__(self, place: Path) -> None:
        self._contents, self._copies = place / "contents", place / "copies"
        self._contents.mkdir()
        self._copies.mkdir()
        self._new = place / "new"
        self._new.mkdir()
        self._folders: dict[str, Path] = {}
        self._numbers = itertools.count()

    def change(self, memory: str, change: CopyChange) -> int:
        """Bring the copy up to date; returns a descriptor of its folder, for the caller to close.

        Raises:
            OSError: the disk failed; the copy is broken, and must be made again.
        """
        if change.fresh:
            self.forget(memory)
        folder = self._folders.get(memory)
        if folder is None:
            folder = self._copies / str(next(self._numbers))
            folder.mkdir()
            self._folders[memory] = folder
        for path in change.removed:
            (folder / path).unlink()
        for path in change.removed_folders:
            (folder / path).rmdir()
        for path in change.folders:
            (folder / path).mkdir()
        for path, (name, _) in change.files.items():
            self._place(name, folder / path)
        for path, target in change.links.items():
            (folder / path).unlink(missing_ok=True)
            (folder / path).symlink_to(target)
        return os.open(folder, _FOLDER)

    def keep(self, name: str, data: bytes) -> None:
        """Keep a content that the driver needs in a copy, or will need, since a block has written it."""
        path = self._contents / name
        if path.exists():
            return
        new = self._new / str(next(self._numbers))
        mode = int(name.rpartition("-")[2], 8)
        try:
            with open(new, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
            os.rename(new, path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def keep_all(self, contents: Mapping[str, bytes]) -> None:
        for name, data in contents.items():
            self.keep(name, data)

    def forget(self, memory: str) -> None:
        folder = self._folders.pop(memory, None)
        if folder is not None:
            shutil.rmtree(folder)

    def forget_contents(self, names: tuple[str, ...]) -> None:
        """Delete contents; notes of copies that have them stay as they are."""
        for name in names:
            with suppress(FileNotFoundError):
                (self._contents / name).unlink()

    def _place(self, name: str, path: Path) -> None:
        new = self._new / str(next(self._numbers))
        try:
            os.link(self._contents / name, new)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            shutil.copy2(self._contents / name, new)  # no hard links on this file system, or too many of them
        os.replace(new, path)
        new.unlink(missing_ok=True)  # left over if *path* was already the same file
