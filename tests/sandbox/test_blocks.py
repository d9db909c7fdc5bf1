"""Blocks as models write them run as they would in a plain interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .background import Background
from .library_blocks import LIBRARY
from .simple_blocks import SIMPLE, USER, Block

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with Background() as background:
        yield background


@pytest.mark.parametrize("block", [*SIMPLE, *LIBRARY], ids=lambda block: block.name)
def test_runs(background: Background, tmp_path: Path, block: Block) -> None:
    (tmp_path / "user.md").write_text(USER)
    for name, text in block.before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    result = background.run(block.code, tmp_path)
    assert result.error == ""
    assert {name: result.locals.get(name) for name in block.values} == block.values
    assert {name: (tmp_path / name).read_text() for name in block.notes} == block.notes
