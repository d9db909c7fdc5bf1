"""The commands in ``docs/how-to/batch.md`` do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trioagent.batch import CONVERSATIONS, read_rows

from .how_to import run_page

pytestmark = pytest.mark.real

CODES = {
    "-s INT": {0, 130},
    "-s KILL": {0, 137, -9},
    "--max-tokens-total 20000": {0},
    "--outage-patience 2": {3},
    "--max-tokens-total 2000": {3},
    "batch merge": {0, 3},
}


def test_every_command_as_written(home: Path) -> None:
    """What the page shows is printed, but for counts of tokens and times."""
    assert run_page("batch.md", home, codes=CODES, masked=_masked) >= 11
    rows = list(read_rows(home / "runs" / "many" / CONVERSATIONS))
    assert len({row["id"] for row in rows}) == len(rows) == 150


def _masked(text: str) -> str:
    return re.sub(r"[\d,]+ (tokens|to read)|[\d.]+ s\b", "N", text)
