"""A memory in a folder of its own, with the tools on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent.tools import Access, SeenLog, make_tools
from trioagent.tools._disk import BY_FD, Disk


class AnySuffix(frozenset[str]):
    """Holds every suffix."""

    def __contains__(self, suffix: object) -> bool:
        return True


def any_name() -> Access:
    """Rules by which a file of any name may be written: what names mean is tested apart from what a policy says."""
    access = Access()
    access.rules = access.rules._replace(suffixes=AnySuffix())
    return access


class Memory:
    """The tools by attribute, what they record as seen, and the folder itself."""

    def __init__(self, root: Path, *, by_fd: bool = BY_FD) -> None:
        self.root = root
        self.seen = SeenLog()
        self.tools = make_tools(Disk(str(root), by_fd=by_fd), self.seen, access=any_name())

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
