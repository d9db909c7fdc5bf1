"""Memories in which some notes belong to someone else are worked on through a private copy."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from .mixed_ownership import OTHER_GROUP, change_notes, make_notes
from .plain_user import NOBODY, PlainUser

pytestmark = pytest.mark.real

GOOD = {
    "error": "",
    "saved": True,
    "notes": {"entities/theirs.md": "theirs and more", "entities/new.md": "new"},
    "left": [],
}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_root_works_on_a_memory_of_several_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, temporary = tmp_path / "memory", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))  # other tests put their own things beside it
    make_notes(folder)
    os.chown(folder, NOBODY, NOBODY)
    os.chown(folder / "entities", NOBODY, NOBODY)
    assert await change_notes(folder) == GOOD


def test_plain_user_works_on_notes_of_another_group(plain_user: PlainUser) -> None:
    run = plain_user.run("tests.sandbox.mixed_ownership", groups=[OTHER_GROUP])
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == GOOD


_KILLED_IN_A_BLOCK = """
import os, signal, sys, trio
from trioagent.sandbox import open_sandbox

async def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with open_sandbox("kernel") as sandbox:
        await sandbox.run("die()", memory_path=sys.argv[1], host_tools={"die": die})

trio.run(main)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_a_copy_left_by_a_killed_host_is_removed_at_the_next_start(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "memory", tmp_path / "tmp"
    make_notes(folder)
    temporary.mkdir()
    os.chown(folder / "gone.md", NOBODY, NOBODY)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    killed = await trio.run_process(
        [sys.executable, "-c", _KILLED_IN_A_BLOCK, str(folder)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    assert (left / "copy" / "view" / "gone.md").exists()
    start = "import trio\nfrom trioagent.sandbox import open_sandbox\n"
    start += "async def main():\n    async with open_sandbox('kernel'): pass\ntrio.run(main)"
    await trio.run_process([sys.executable, "-c", start], env=environment)
    assert not list(temporary.iterdir())
