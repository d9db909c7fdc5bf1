"""The pytest fixtures: opt-in, and usable in synchronous, Trio and asyncio tests."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

TESTS = """
import asyncio

import trio

import trioagent
from trioagent.compat import AsyncAgent

REPLY = "<think>t</think><python></python><reply>Hello.</reply>"


async def test_in_trio(trioagent_model, trioagent_memory):
    model = trioagent_model([REPLY])
    async with trioagent.open_runtime(model) as runtime:
        agent = trioagent.Agent(runtime, memory_path=trioagent_memory())
        assert (await agent.chat("Hi.")).reply == "Hello."
    assert model.calls[0][-1].content == "Hi."


async def test_over_http(trioagent_server, trioagent_memory):
    server = trioagent_server(REPLY)
    memory = trioagent_memory({"entities/ada.md": "# Ada"})
    async with trioagent.open_runtime("m", base_url=server.base_url) as runtime:
        assert (await trioagent.Agent(runtime, memory_path=memory).chat("Hi.")).reply == "Hello."
    assert (memory / "entities" / "ada.md").read_text() == "# Ada"
    assert len(server.requests) == 1


def test_in_asyncio(trioagent_server, trioagent_memory, monkeypatch):
    server = trioagent_server(lambda request: REPLY)
    monkeypatch.setenv("TRIOAGENT_BASE_URL", server.base_url)
    agent = AsyncAgent(memory_path=str(trioagent_memory()), model="m", predetermined_memory_path=True)
    assert asyncio.run(agent.chat("Hi.")).reply == "Hello."
"""


def test_the_fixtures_work_in_a_test_suite_that_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["trioagent.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "-W", "error", "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_no_entry_point_loads_them() -> None:
    assert [entry for entry in entry_points(group="pytest11") if entry.value.startswith("trioagent")] == []
