"""Links and renames planted while a commit or a recovery is under way never lead it out of the memory."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent._errors import MemoryRejectedError, MemoryStorageError
from trioagent.memory import ChangeSet

from .support import ALL, PRIVATE, before, commit_now, recover_now, scenarios, switched


def picture(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in a folder: modes and contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        found[str(path.relative_to(folder))] = (mode, path.read_bytes() if stat.S_ISREG(mode) else b"")
    return found


def outside(folder: Path) -> Path:
    """A folder with the same names as the memory's, which must not change."""
    before().lay_down(folder)
    for name in ("a", "people", PRIVATE):
        (folder / name).mkdir()
    return folder


def swap_for_link(root: Path, victim: Path, name: str) -> None:
    """Somebody moves a folder of the memory away and puts a link to another in its place."""
    path = root / name
    if path.is_dir() and not path.is_symlink():
        path.rename(root / f"{name}-moved-away")
    elif path.exists():
        return
    path.symlink_to(victim / name if name != PRIVATE else victim)


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("entities", "many notes"),
        ("entities", "all of it"),
        ("a", "all of it"),
        ("folder", "notes and folders swapped"),
        ("archive", "deletions"),
        ("people", "new folders"),
        (PRIVATE, "many notes"),
        (PRIVATE, "one note and a receipt"),
    ],
)
def test_a_link_planted_at_any_moment(tmp_path: Path, name: str, scenario: str) -> None:
    new, receipt = scenarios()[scenario]
    victim = outside(tmp_path / "victim")
    expected = picture(victim)
    for number in range(1, 200):
        root = tmp_path / "memory"
        shutil.rmtree(root, ignore_errors=True)
        before().lay_down(root)
        reached = False

        def plant(
            step: int,
            operation_name: str,
            operation: Callable[..., Any],
            args: tuple[Any, ...],
            *,
            number: int = number,
            root: Path = root,
        ) -> Any:
            nonlocal reached
            if step == number:
                reached = True
                swap_for_link(root, victim, name)
            return operation(*args)

        try:
            with switched(plant, ALL):
                commit_now(root, before().changes_to(new), receipt=receipt)
        except (MemoryRejectedError, MemoryStorageError):
            pass
        assert picture(victim) == expected
        if not reached:
            break
    assert number > 10


def test_links_in_the_memory_are_not_followed(tmp_path: Path) -> None:
    root, victim = tmp_path / "memory", outside(tmp_path / "victim")
    expected = picture(victim)
    before().lay_down(root)
    (root / "link").symlink_to(victim)
    (root / "note.md").symlink_to(victim / "user.md")
    for changes in (
        ChangeSet(writes={"link/user.md": b"x"}),
        ChangeSet(writes={"link/entities/new.md": b"x"}),
        ChangeSet(deletes=frozenset({"link/user.md"})),
        ChangeSet(made_dirs=frozenset({"link/new"})),
        ChangeSet(removed_dirs=frozenset({"link/a", "link"})),
        ChangeSet(writes={"note.md": b"x"}),
        ChangeSet(deletes=frozenset({"link"})),
    ):
        try:
            commit_now(root, changes)
        except MemoryRejectedError:
            pass
        assert picture(victim) == expected
    assert (root / "note.md").read_bytes() == b"x"
    assert not (root / "link").is_symlink()


def test_recovery_does_not_follow_links(tmp_path: Path) -> None:
    """A memory that somebody sent us, with a redo record and links made to lead it out."""
    root, victim = tmp_path / "memory", outside(tmp_path / "victim")
    expected = picture(victim)
    before().lay_down(root)
    (root / "link").symlink_to(victim)
    (root / PRIVATE).mkdir()
    (root / PRIVATE / "new-0").symlink_to(victim / "user.md")
    (root / PRIVATE / "new-1").write_bytes(b"evil")
    evil = "receipt-4efca0d10c5feb8e9b35eb1d994f2905bc71f5e0a4a57d5dbf5ee9e0b2b7e0b5"
    (root / PRIVATE / evil).symlink_to(victim / "user.md")
    staged = {"sha256": "", "before": None}
    record = {
        "format": 1,
        "moment": 2**62,
        "deletes": {"link/user.md": [1, 2, 3]},
        "removed": ["link/a", "link"],
        "made": ["link/new"],
        "writes": [
            {"file": "new-0", "target": "copied.md", **staged},
            {"file": "new-1", "target": "link/user.md", **staged},
        ],
        "receipt": evil,
        "payload": "",
    }
    (root / PRIVATE / "redo.json").write_text(json.dumps(record))
    try:
        recover_now(root)
    except MemoryStorageError:
        pass
    assert picture(victim) == expected
    assert not os.path.lexists(root / "copied.md") or not (root / "copied.md").is_symlink()
