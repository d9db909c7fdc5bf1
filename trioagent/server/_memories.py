"""The memories that are served, by name. Names are looked up, never joined to a path unchecked."""

from __future__ import annotations

import os
import re
from pathlib import Path

import trio

from .._config import MemoryLimits
from .._errors import MemoryPathError
from ..memory import Memory, Vault, VaultPolicy, access_rules, check_memory_path
from ._request_error import RequestError

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_ -]|\.(?!\.)){0,63}(?<![. ])")
_WORDS = "a name has up to 64 letters, digits and blanks; - _ . are allowed inside of it"


class Memories:
    """Memories below one folder.

    Args:
        root: a folder whose subfolders are memories, or a memory itself; None for no memories.
        history: keep the history of the notes (see `Memory`).
        policy: what may be read and changed in each memory.

    Attributes:
        single: the name, if *root* itself is a memory.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        limits: MemoryLimits = MemoryLimits(),
        sync: bool = False,
        history: bool = False,
        policy: VaultPolicy = VaultPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self._root, self._limits, self._sync = root, limits, sync
        self._history, self._policy = history, policy
        self.single: str | None = None
        if root is not None:
            check_memory_path(root, create=True)
            if _holds_notes(root):
                self.single = root.name if NAME.fullmatch(root.name) else "memory"

    async def names(self) -> list[str]:
        """The names of all memories, sorted."""
        if self.single is not None or self._root is None:
            return [self.single] if self.single is not None else []
        return await trio.to_thread.run_sync(_folders, self._root)

    async def get(self, name: str) -> Memory:
        """The memory of this name.

        Raises:
            RequestError: there is none, or the name is invalid.
        """
        path = self._path(name)
        if self.single is None and not await trio.to_thread.run_sync(_is_memory, path):
            raise _unknown(name)
        return self._memory(path)

    async def create(self, name: str) -> Memory:
        """Create an empty memory.

        Raises:
            RequestError: it exists, the name is invalid, or no memories can be added.
        """
        path = self._path(name)
        if self.single is not None:
            problem = f"the server serves only the memory {self.single!r}"
            raise RequestError(409, "single_memory", problem, "serve the parent folder to have several memories")
        if not await trio.to_thread.run_sync(_make, path):
            raise RequestError(409, "memory_exists", f"the memory {name!r} exists", "choose another name, or use it")
        return self._memory(path)

    def _memory(self, path: Path) -> Memory:
        return Memory(path, limits=self._limits, sync=self._sync, history=self._history, policy=self._policy)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise RequestError(404, "bad_memory_name", f"{name!r:.100} is not the name of a memory", _WORDS)
        if self._root is None:
            raise RequestError(404, "unknown_memory", "no memories are served here", "start `trioagent serve DIR`")
        if self.single is None:
            return self._root / name
        if name != self.single:
            raise _unknown(name)
        return self._root


def _unknown(name: str) -> RequestError:
    problem = f"there is no memory {name!r}"
    return RequestError(404, "unknown_memory", problem, "see /api/memories for their names")


def _holds_notes(root: Path) -> bool:
    with os.scandir(root) as entries:
        return any(entry.name.endswith(".md") and not entry.name.startswith(".") for entry in entries)


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )


def _is_memory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _make(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise MemoryPathError(str(path), error.strerror or str(error)) from error
    return True


def vault_of(memory: Memory) -> Vault:
    """The notes of a memory that its policy allows to be read."""
    return Vault(memory.path, access_rules(memory.policy))
