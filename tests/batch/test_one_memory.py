"""Fifty agents in two processes write to one memory: no update is lost, and conflicts come back to the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent.batch import CONVERSATIONS, read_rows

from .shared_memory_child import END, MERGERS, OVERWRITERS

pytestmark = pytest.mark.real

CHILD = Path(__file__).with_name("shared_memory_child.py")


async def test_fifty_agents_one_memory(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    log = memory / "log.md"
    log.write_text(f"# Log\n{END}")
    torn: list[str] = []

    async def run(name: str) -> None:
        command = [sys.executable, str(CHILD), name, str(memory), str(tmp_path / name)]
        await trio.run_process(command)

    async def watch() -> None:
        while True:
            text = log.read_text()
            if not (text.startswith("# Log\n") and text.endswith(END)):
                torn.append(text)
            await trio.sleep(0.002)

    with trio.fail_after(60):
        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "a")
                nursery.start_soon(run, "b")
            watching.cancel_scope.cancel()
    assert torn == []
    lines = log.read_text().splitlines()
    expected = [f"{name}-{number}" for name in "ab" for number in range(MERGERS + OVERWRITERS)]
    assert sorted(lines) == sorted(["# Log", *expected, END])
    assert [path.name for path in memory.iterdir()] == ["log.md"]

    results = [
        message["content"] for name in "ab" for message in _messages(tmp_path / name) if message["role"] == "tool"
    ]
    conflicts = [text for text in results if "MemoryConflictError" in text]
    assert conflicts
    assert all("someone else changed log.md" in text and "Nothing was saved." in text for text in conflicts)


def _messages(run_dir: Path) -> list[dict[str, Any]]:
    return [message for row in read_rows(run_dir / CONVERSATIONS) for message in row["messages"]]
