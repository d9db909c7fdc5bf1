"""The commands in ``docs/how-to/upgrade.md`` do what it says, on what 0.1 really left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.format1 import script
from trioagent._deprecated import RENAMED
from trioagent.batch import CONVERSATIONS, read_rows

from .how_to import PAGES, run_page

pytestmark = pytest.mark.real


def test_every_command_as_written(home: Path) -> None:
    """What the page shows is printed, but for times."""
    script.unpack("cli-killed", home)
    assert run_page("upgrade.md", home, codes={}, masked=_masked) == 5
    rows = {row["id"]: row for row in read_rows(home / "runs" / "july" / CONVERSATIONS)}
    assert [row["id"] for row in script.ROWS] == list(rows)
    assert all("You live in" in row["messages"][-1]["content"] for row in rows.values())


def _masked(text: str) -> str:
    return re.sub(r"(?<=killed, ).* ago|(?<=ended ).* ago|[\d.]+ s\b", "N", text)


def test_every_new_name_is_on_the_page() -> None:
    page = (PAGES / "upgrade.md").read_text()
    assert [name for names in RENAMED.items() for name in names if name not in page] == []
