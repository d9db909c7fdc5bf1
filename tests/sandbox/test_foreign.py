"""Memories in which some notes belong to someone else are worked on through a private copy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .foreign_notes import OTHER_GROUP, change_notes, make_notes
from .plain_user import NOBODY, PlainUser

pytestmark = pytest.mark.real

GOOD = {
    "error": "",
    "saved": True,
    "notes": {"entities/theirs.md": "theirs and more", "entities/new.md": "new"},
    "left": [],
}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_root_works_on_a_memory_of_several_users(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    make_notes(folder)
    os.chown(folder, NOBODY, NOBODY)
    os.chown(folder / "entities", NOBODY, NOBODY)
    assert await change_notes(folder) == GOOD


def test_plain_user_works_on_notes_of_another_group(plain_user: PlainUser) -> None:
    run = plain_user.run("tests.sandbox.foreign_notes", groups=[OTHER_GROUP])
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == GOOD
