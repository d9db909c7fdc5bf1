"""MCP over HTTP with the official client: the same tools as over standard streams, behind the server's token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from .serving import Served, code, make_memories, reply, serving

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the client leaves its generators
]

GENERATIONS = ("auto", "legacy")  # without a handshake, and with one


@asynccontextmanager
async def connected(served: Served, path: str = "/mcp/ada", mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {served.server.token}"}
    with trio.fail_after(30):
        async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            transport = streamable_http_client(f"{served.server.url}{path}", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client


async def said(client: Client, tool: str, **arguments: object) -> str:
    answer = await client.call_tool(tool, dict(arguments))
    return "\n".join(part.text for part in answer.content if part.type == "text")


@pytest.mark.parametrize("mode", GENERATIONS)
async def test_notes_are_read_and_written(tmp_path: Path, mode: str) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada\n- city: Oslo\n"}, "bo": {}})
    async with serving(tmp_path) as served, connected(served, mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "ask" not in names
        assert "search_notes" in names
        assert await said(client, "list_notes") == "user.md"
        assert "Oslo" in await said(client, "search_notes", query="oslo")
        await said(client, "write_note", path="entities/bo.md", text="# Bo\n")
        async with connected(served, "/mcp/bo", mode) as other:
            assert await said(other, "list_notes") == "there are no notes yet"
    assert (tmp_path / "ada" / "entities" / "bo.md").read_text() == "# Bo\n"


async def test_an_agent_that_knows_the_notes_answers(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("create_file('user.md', 'Oslo')"), reply("Noted.")]
    async with serving(tmp_path, answers) as served, connected(served, "/mcp") as client:
        assert await said(client, "remember", text="I live in Oslo.") == "Noted."
    assert (tmp_path / "ada" / "user.md").read_text() == "Oslo"


async def test_nobody_without_the_token_and_no_unknown_memory(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}, "bo": {}})
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with serving(tmp_path) as served:
        strange = await served.client.post("/mcp/ada", json=message, headers={"Authorization": "Bearer wrong"})
        unknown = await served.client.post("/mcp/nobody", json=message)
        which = await served.client.post("/mcp", json=message)
        wrong = await served.client.put("/mcp/ada", json=message)
    assert [answer.status_code for answer in (strange, unknown, which, wrong)] == [401, 404, 404, 405]
