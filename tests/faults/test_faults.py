"""Any operation on the disk may fail, fall short, or be the process's last: nothing is lost, torn or done twice."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .interposer import run_with_interposer

pytestmark = pytest.mark.real


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory if there is such a file system: thousands of small memories are made in it."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK | os.X_OK) else None) as name:
        yield Path(name)


def disturb(module: str, *arguments: object) -> dict[str, int]:
    found = json.loads(run_with_interposer(f"tests.faults.{module}", *arguments))
    print(module, *arguments[1:], found)
    assert isinstance(found, dict)
    return found


def test_commits_and_recoveries_at_every_operation(folder: Path) -> None:
    found = disturb("memory_faults", folder)
    assert found["faults"] > 500 and found["faults in recovery"] > 300


def test_commits_that_are_kept(folder: Path) -> None:
    found = disturb("memory_faults", folder, "history", "step", 4)
    assert found["faults"] > 800 and found["faults in recovery"] > 100


def test_commits_where_no_file_system_can_exchange_files(folder: Path) -> None:
    """Replacing a note takes two renames, or a rename, a link and an unlinking: it is never away for good."""
    found = disturb("memory_faults", folder, "without", "RENAME_FLAGS", "step", 4)
    assert found["faults"] > 1500 and found["faults in recovery"] > 300


@pytest.mark.slow
def test_commits_at_every_operation(folder: Path) -> None:
    found = disturb("memory_faults", folder, "without", "RENAME_FLAGS")
    assert found["faults"] > 1500 and found["faults in recovery"] > 1500
    found = disturb("memory_faults", folder, "history")
    assert found["faults"] > 800 and found["faults in recovery"] > 400


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["EXCHANGE", "RENAME_FLAGS", "LINKS"])
def test_commits_that_are_kept_where_no_file_system_can_exchange_files(folder: Path, missing: str) -> None:
    found = disturb("memory_faults", folder, "history", "without", missing)
    assert found["faults"] > 1500 and found["faults in recovery"] > 1500


def test_stores_are_filled_here_and_there(folder: Path) -> None:
    found = disturb("history_faults", folder, 7)
    assert found["fill"] > 10 and found["forget"] > 4


@pytest.mark.slow
def test_stores_are_filled_at_every_operation(folder: Path) -> None:
    found = disturb("history_faults", folder, 1)
    assert found["fill"] > 80 and found["forget"] > 35


def test_journals_here_and_there(folder: Path) -> None:
    found = disturb("journal_faults", folder, 17)
    assert found["died"] > 5 and found["refused"] > 5 and found["faults in recovery"] > 20


def test_batches_here_and_there(folder: Path) -> None:
    found = disturb("batch_faults", folder, 29)
    assert found["died"] > 3 and found["refused"] > 3


@pytest.mark.slow
def test_commits_that_flush(folder: Path) -> None:
    assert disturb("memory_faults", folder, "sync")["faults"] > 800


@pytest.mark.slow
def test_journals_at_every_operation(folder: Path) -> None:
    assert disturb("journal_faults", folder, 1)["faults"] > 500


@pytest.mark.slow
def test_batches_at_every_operation(folder: Path) -> None:
    assert disturb("batch_faults", folder, 1)["faults"] > 500
