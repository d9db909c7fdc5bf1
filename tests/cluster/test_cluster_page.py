"""The commands in ``docs/how-to/cluster.md`` do what it says; with `make test-cluster`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.how_to import run_page

from .nodes import home_of_processes

pytestmark = pytest.mark.cluster


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Path]:
    with home_of_processes(tmp_path):
        yield tmp_path


def masked(text: str) -> str:
    """Without counts of tokens, times, and progress, of which a line is printed every few seconds."""
    text = re.sub(r"^.* jobs ended .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"[\d,]+ tokens|[\d.]+ s\b", "N", text)


def test_every_command_as_written(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert run_page("cluster.md", own_home, codes={}, masked=masked) == 6
