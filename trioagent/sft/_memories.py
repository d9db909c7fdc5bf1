"""The memories of attempts: each has its own, made of given notes, and removed afterwards in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .._config import MemoryLimits
from .._files import remove_tree
from ..memory import ChangeSet, Memory, Vault

FOLDER = "memories"


@asynccontextmanager
async def fresh_memory(path: Path, notes: Mapping[str, str], limits: MemoryLimits) -> AsyncIterator[Path]:
    """A memory with only *notes*, until the block ends.

    Raises:
        MemoryLimitError: the notes are too large.
        MemoryPathError, MemoryStorageError: the folder cannot be made.
    """
    try:
        async with Memory(path, limits=limits).lease() as lease:
            await lease.commit(ChangeSet(writes={name: text.encode() for name, text in notes.items()}))
        yield path
    finally:
        with trio.CancelScope(shield=True):  # bounded: a few local files
            await trio.to_thread.run_sync(remove_tree, path)


def read_notes(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The notes' texts by path, and the broken links. Synchronous; for a worker thread.

    Raises:
        MemoryPathError: it is not a readable folder.
    """
    vault = Vault(path)
    texts = {name: (path / name).read_text(encoding="utf-8", errors="replace") for name in vault.sizes()}
    broken = (f"{name}: {link} ({link.problem})" for name in texts for link in vault.links(name) if link.problem)
    return texts, tuple(dict.fromkeys(broken))
