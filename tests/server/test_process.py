"""``trioagent serve`` as a process of its own: signals, and what a killed one leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from trioagent.testing import ModelServer, serve_model

from .serving import code, make_memories, reply
from .test_chats import eventually
from .websocket import WebSocketClient, WebSocketClosed, open_websocket

pytestmark = pytest.mark.real

WRITE_AND_LOOP = code("update_file('user.md', 'before', 'after')\nwhile True:\n    pass")
TOKEN = "a-token-that-was-given"


@attrs.frozen
class ServeProcess:
    """A running command."""

    process: trio.Process
    link: str
    address: tuple[str, int]


@asynccontextmanager
async def serve_process(root: Path, model: ModelServer, *options: str) -> AsyncIterator[ServeProcess]:
    """``trioagent serve``; it is killed when the block ends, if it still runs."""
    env = {**os.environ, "TRIOAGENT_SERVER_TOKEN": TOKEN, "TRIOAGENT_API_KEY": "sk-model-key"}
    arguments = ["--port", "0", "--model", "scripted", "--base-url", model.base_url, *options]
    command = [sys.executable, "-m", "trioagent", "serve", str(root), *arguments]
    process = await trio.lowlevel.open_process(command, env=env, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        line = b""
        with trio.fail_after(30):
            while not line.endswith(b"\n"):
                line += bytes(await process.stdout.receive_some())
        found = re.search(r"http://([\d.]+):(\d+)/#token=\S+", line.decode())
        assert found, line
        yield ServeProcess(process, found[0], (found[1], int(found[2])))
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def chatting(serving: ServeProcess, *, token: str = TOKEN) -> AsyncIterator[WebSocketClient]:
    with trio.fail_after(30):
        async with open_websocket(serving.address, "/ws/memories/ada/chat", token=token) as client:
            yield client


def session_members(leader: int) -> list[int]:
    """The processes of the session that *leader* began, zombies left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(pid))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_in_a_block_ends_it_after_the_grace_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "before"}})
    async with trio.open_nursery() as nursery:
        model = await nursery.start(serve_model, [WRITE_AND_LOOP])
        async with serve_process(tmp_path, model, "--grace", "0.2") as serving, chatting(serving) as client:
            await client.send(type="say", text="go")
            await client.until("code_started")
            serving.process.send_signal(number)
            with trio.fail_after(10):
                assert await serving.process.wait() == 0
            await eventually(lambda: not session_members(serving.process.pid))
        nursery.cancel_scope.cancel()
    assert (tmp_path / "ada" / "user.md").read_text() == "before"


async def test_a_signal_lets_an_answer_end(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    asked, go_on = trio.Event(), trio.Event()

    async def answer(request: object) -> str:
        asked.set()
        await go_on.wait()
        return reply("In time.")

    async with trio.open_nursery() as nursery:
        model = await nursery.start(serve_model, answer)
        async with serve_process(tmp_path, model) as serving, chatting(serving) as client:
            await client.send(type="say", text="hi")
            await asked.wait()
            serving.process.send_signal(signal.SIGTERM)
            await eventually(lambda: not can_connect(serving.address))
            go_on.set()
            assert (await client.until("ended"))["outcome"] == "replied"
            await client.until("closed")
            with trio.fail_after(10):
                assert await serving.process.wait() == 0
        nursery.cancel_scope.cancel()


def can_connect(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


async def test_a_killed_server_leaves_no_process_and_no_half_note(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "before"}})
    async with trio.open_nursery() as nursery:
        model = await nursery.start(serve_model, [WRITE_AND_LOOP, code("city = read_file('user.md')"), reply("Hello.")])
        async with serve_process(tmp_path, model) as serving, chatting(serving) as client:
            await client.send(type="say", text="go")
            await client.until("code_started")
            serving.process.kill()
            with pytest.raises((WebSocketClosed, trio.BrokenResourceError)):
                await client.until("ended")
            await serving.process.wait()
            await eventually(lambda: not session_members(serving.process.pid))
        assert (tmp_path / "ada" / "user.md").read_text() == "before"
        async with serve_process(tmp_path, model) as serving, chatting(serving) as client:
            await client.send(type="say", text="and now?")
            assert (await client.until("ended"))["outcome"] == "replied"
        nursery.cancel_scope.cancel()


async def test_the_token_of_the_environment_counts_and_the_agents_options_too(tmp_path: Path) -> None:
    make_memories(tmp_path / "root", {"ada": {}})
    more = tmp_path / "more.txt"
    more.write_text("Answer in rhyme.")
    async with trio.open_nursery() as nursery:
        model = await nursery.start(serve_model, [reply("Hello.")])
        options = ["--system-prompt-append", str(more), "--read-only"]
        async with serve_process(tmp_path / "root", model, *options) as serving:
            assert serving.link.endswith(f"/#token={TOKEN}")
            async with chatting(serving) as client:
                said = [await client.receive()]
                await client.send(type="say", text="hi")
                said.append(await client.until("ended", outcome="replied"))
                assert "sk-model-key" not in json.dumps(said)
        system = model.requests[0].messages[0]["content"]
        assert "change none of them" in system
        assert "\n\nAnswer in rhyme.\n\nToday is " in system
        nursery.cancel_scope.cancel()
