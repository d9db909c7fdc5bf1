"""The commands in ``docs/how-to/sft.md`` do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trioagent.batch import read_rows

from .how_to import run_page

pytestmark = pytest.mark.real

CODES = {"-s INT": {0, 130}, "-s KILL": {0, 137, -9}, "bad.jsonl --flow": {2}}


def test_every_command_as_written(home: Path) -> None:
    """What the page shows is printed, but for counts of tokens and times."""
    assert run_page("sft.md", home, codes=CODES, masked=_masked) >= 12
    assert not list((home / "runs" / "some").glob("memories"))
    assert len(list(read_rows(home / "runs" / "some" / "conversations.jsonl"))) == 20


def _masked(text: str) -> str:
    return re.sub(r"(?<=agent )[\d,]+|[\d.]+ s\b", "N", text)
