from __future__ import annotations

from pathlib import Path

import pytest

from .conversation import Conversation


@pytest.fixture
def chat(tmp_path: Path) -> Conversation:
    root = tmp_path / "memory"
    root.mkdir()
    return Conversation(root)
