"""The commands in ``docs/how-to/upgrade.md`` do what it says, on what 0.1 really left."""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.fixtures.format1 import script
from trioagent._deprecated import RENAMED
from trioagent._runs._journal import FILE_NAME, open_journal
from trioagent.batch import CONVERSATIONS, read_rows

from .how_to import PAGES, run_page

pytestmark = pytest.mark.real


def test_every_command_as_written(home: Path) -> None:
    """What the page shows is printed, but for times."""
    script.unpack("cli-killed", home)
    assert run_page("upgrade.md", home, codes={}, masked=_masked) == 6
    rows = {row["id"]: row for row in read_rows(home / "runs" / "july" / CONVERSATIONS)}
    assert [row["id"] for row in script.ROWS] == list(rows)
    assert all("You live in" in row["messages"][-1]["content"] for row in rows.values())


async def test_going_back_after_a_kill(home: Path) -> None:
    """The write-ahead log of the converted journal would damage the one that is put back."""
    script.unpack("cli-killed", home)
    run_dir = home / "runs" / "july"
    async with open_journal(run_dir):
        pass
    killed = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('UPDATE jobs SET attempts = attempts + 1')\n"
        "os._exit(9)"
    )
    await trio.run_process([sys.executable, "-c", killed, str(run_dir / FILE_NAME)], check=False)
    assert (run_dir / f"{FILE_NAME}-wal").stat().st_size
    page = (PAGES / "upgrade.md").read_text()
    for command in re.findall(r"^\$ ((?:rm|cp) .*)", page, re.MULTILINE):
        await trio.run_process(command, shell=True, cwd=home)
    with closing(sqlite3.connect(run_dir / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT id, state FROM jobs").fetchall() == [("ada", "done"), ("ben", "running")]


def _masked(text: str) -> str:
    return re.sub(r"(?<=killed, ).* ago|(?<=ended ).* ago|[\d.]+ s\b", "N", text)


def test_every_new_name_is_on_the_page() -> None:
    page = (PAGES / "upgrade.md").read_text()
    assert [name for names in RENAMED.items() for name in names if name not in page] == []
