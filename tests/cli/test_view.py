"""``trioagent view`` as a process: it prints a link, serves what it names, and ends at Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.runs.support import journal_jobs

from .support import SECONDS, command, environment, trioagent

pytestmark = pytest.mark.real
LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/#token=(\S+)")


@asynccontextmanager
async def viewing(*arguments: str, home: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server that the command has started; it is interrupted at the end."""
    read_end, write_end = os.pipe()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SECONDS):
            process = await nursery.start(
                partial(
                    trio.run_process,
                    command("view", *arguments),
                    stdout=write_end,
                    check=False,
                    env=environment(home),
                    cwd=home,
                )
            )
            os.close(write_end)
            printed = ""
            async with trio.lowlevel.FdStream(read_end) as output:
                while not (link := LINK.search(printed)) or not printed.endswith("\n"):
                    data = await output.receive_some()
                    assert data, printed
                    printed += data.decode()
                headers = {"Authorization": f"Bearer {link[2]}"}
                async with httpx.AsyncClient(base_url=link[1], headers=headers, trust_env=False) as client:
                    yield client
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0


async def test_a_run_is_served(tmp_path: Path) -> None:
    await journal_jobs(tmp_path / "july")
    async with viewing("july", home=tmp_path) as client:
        assert (await client.get("/api/runs")).json() == {"runs": ["july"], "graded": []}
        assert (await client.get("/api/memories")).json() == {"memories": []}
        assert (await client.get("/")).headers["content-type"].startswith("text/html")


async def test_memories_are_served_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "user.md").write_text("# Ada\n")
    async with viewing("--memory", "notes", home=tmp_path) as client:
        assert (await client.get("/api/memories")).json() == {"memories": ["notes"]}
        refused = await client.post("/api/memories/notes/chats")
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "no_model")


async def test_with_a_model_an_agent_answers(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "user.md").write_text("# Ada\n")
    async with viewing("--memory", "notes", "--model", "offline-rules", home=tmp_path) as client:
        assert (await client.post("/api/memories/notes/chats")).status_code == 201


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a run directory"),
        (["nothing"], "nothing was run there"),
        (["--memory", "nothing"], "is not a folder"),
    ],
)
async def test_what_cannot_be_shown_is_said_at_once(tmp_path: Path, arguments: list[str], words: str) -> None:
    ended = await trioagent("view", *arguments, home=tmp_path)
    assert (ended.code, words in ended.err) == (2, True), ended.err
