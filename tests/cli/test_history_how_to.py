"""The commands in ``docs/how-to/history.md`` do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .how_to import run_page

pytestmark = pytest.mark.real


def masked(text: str) -> str:
    """Without ids and times."""
    text = re.sub(r"\b[0-9a-f]{10,12}\b", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text)


def test_every_command_as_written(home: Path) -> None:
    assert run_page("history.md", home, codes={}, masked=masked) > 8
