"""The memories of an evaluation: one for each set-up, and a copy of it for each sample. Synchronous; for threads."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from .._files import remove_tree
from ..memory import Vault

SET_UPS, COPIES = "set-ups", "memories"
_CHOSEN = 16


def folder_of(run_dir: Path, kind: str, key: str) -> Path:
    """The folder of a set-up's or a sample's memory; ids need not be valid folder names."""
    return run_dir / kind / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_CHOSEN]


def write_notes(folder: Path, notes: Mapping[str, str]) -> None:
    """Make a memory with only *notes*."""
    remove_tree(folder)
    folder.mkdir(parents=True)
    for name, text in notes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


def copy_notes(source: Path, target: Path) -> None:
    """Make a memory with the notes of *source* and nothing of its conversations."""
    remove_tree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, ignore=lambda _, names: [name for name in names if name[0] == "."])


def read_notes(folder: Path) -> dict[str, str]:
    """The notes' texts by path.

    Raises:
        MemoryPathError: it is not a readable folder.
    """
    paths = sorted(Vault(folder).sizes())
    return {path: (folder / path).read_text(encoding="utf-8", errors="replace") for path in paths}
