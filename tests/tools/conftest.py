"""A memory in a folder of its own, with the tools on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent.tools import SeenLog, make_tools


class Memory:
    """The tools by attribute, what they record as seen, and the folder itself."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen = SeenLog()
        self.tools = make_tools(str(root), self.seen)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self.tools[name]

    def put(self, path: str, content: str | bytes = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def bytes(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    root = tmp_path / "mem"
    root.mkdir()
    return Memory(root)
