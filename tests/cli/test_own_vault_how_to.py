"""Every command of ``docs/how-to/own-vault.md`` runs as written, on a copy of the vault written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .how_to import run_page

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).parents[2]


def test_every_command_as_written(home: Path) -> None:
    (home / "trioagent").mkdir()
    (home / "trioagent" / "examples").symlink_to(CHECKOUT / "examples")
    commands = run_page("own-vault.md", home, codes={}, masked=lambda output: output)
    assert commands > 10
    own = {path: path.read_bytes() for path in (CHECKOUT / "examples" / "vault").rglob("*.md")}
    for path, content in own.items():  # nothing of the person's was changed
        assert (home / "vault" / path.relative_to(CHECKOUT / "examples" / "vault")).read_bytes() == content
