"""Blocks as models write them run as they would in a plain interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .background import Background
from .plain_user import PlainUser
from .run_blocks import BLOCKS, run_block
from .simple_blocks import Block
from .tiers import TIERS

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=TIERS)
def background(request: pytest.FixtureRequest) -> Iterator[Background]:
    with Background(tier=request.param) as background:
        yield background


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_runs(background: Background, tmp_path: Path, block: Block) -> None:
    assert run_block(background, tmp_path, block) == []


def test_runs_as_a_plain_user_without_namespaces(plain_user: PlainUser) -> None:
    """There the block's root is not its view."""
    run = plain_user.run("tests.sandbox.run_blocks", "kernel-lite")
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == {}
