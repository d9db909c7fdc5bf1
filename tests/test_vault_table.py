"""SECURITY.md's table of what protects a person's vault names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_files_that_it_names_exist() -> None:
    section = (TESTS.parent / "SECURITY.md").read_text().partition("\n## A person's vault\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) >= 8
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)`", row.rpartition(" | ")[2])
        assert named and all((TESTS / name).is_file() for name in named), row
