"""Tests whether and how a folder can be a memory, by trying: for people who want to know before agents work there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import attrs

from ..tools import RESERVED
from . import _fsops
from ._file_system import on_network
from ._root import check_memory_path, is_writable


@attrs.frozen(kw_only=True)
class FolderReport:
    """The properties of a folder.

    Attributes:
        writable: this user may make and remove notes in it.
        exchanges: two files can be exchanged atomically (``RENAME_EXCHANGE``); None if that was not tested.
        folds_case: names that differ only in case are one name; None if that was not tested.
        on_network: it is on a network file system.
    """

    writable: bool
    exchanges: bool | None
    folds_case: bool | None
    on_network: bool


def examine_folder(path: str | os.PathLike[str]) -> FolderReport:
    """Test a folder's properties, with files in a temporary folder of ours inside it.

    Raises:
        MemoryPathError: the folder cannot be a memory, not even for reading.
    """
    check_memory_path(path, read_only=True)
    folder = Path(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        network = on_network(descriptor)
    finally:
        os.close(descriptor)
    if not is_writable(folder):
        return FolderReport(writable=False, exchanges=None, folds_case=None, on_network=network)
    place = tempfile.mkdtemp(prefix=f"{RESERVED}-", dir=folder)
    try:
        exchanges, folds_case = _tried(Path(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return FolderReport(writable=True, exchanges=exchanges, folds_case=folds_case, on_network=network)


def _tried(place: Path) -> tuple[bool, bool]:
    for name in ("one", "two"):
        (place / name).write_text(name)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        done = _fsops.exchange("one", descriptor, "two", descriptor)
    finally:
        os.close(descriptor)
    return done and (place / "one").read_text() == "two", (place / "ONE").exists()
