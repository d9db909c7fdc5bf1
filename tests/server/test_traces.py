"""A client's trace continues in the server, and from there to the model's server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
import trio
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from ..spans import ids, named, recording
from .serving import Served, code, make_memories, reply, serving
from .websocket import open_websocket

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the MCP client leaves generators
]

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
HEADERS = {"traceparent": f"00-{TRACE:032x}-{SPAN:016x}-01"}
ANSWERS = [code("create_file('user.md', 'Oslo')"), reply("Noted.")]


async def by_openai(served: Served, *, stream: bool = False) -> None:
    body = {"model": "memory/ada", "messages": [{"role": "user", "content": "I live in Oslo."}], "stream": stream}
    answer = await served.client.post("/v1/chat/completions", json=body, headers=HEADERS)
    assert answer.status_code == 200 and "Noted." in answer.text


async def by_stream(served: Served) -> None:
    await by_openai(served, stream=True)


async def by_websocket(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.server.token}", **HEADERS}
    async with open_websocket(served.address, "/ws/memories/ada/chat", headers=headers) as client:
        await client.send(type="say", text="I live in Oslo.")
        while (await client.receive())["type"] != "ended":
            pass


async def by_mcp(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.server.token}", **HEADERS}
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        transport = streamable_http_client(f"{served.server.url}/mcp/ada", http_client=http)
        async with Client(transport, mode="auto") as client:
            await client.call_tool("remember", {"text": "I live in Oslo."})


@pytest.mark.parametrize("ask", [by_openai, by_stream, by_websocket, by_mcp])
async def test_the_clients_trace_goes_on(tmp_path: Path, ask: Callable[[Served], Awaitable[None]]) -> None:
    make_memories(tmp_path, {"ada": {}})
    with recording() as spans, trio.fail_after(30):
        async with serving(tmp_path, ANSWERS, tracing=spans.config()) as served:
            await ask(served)
            assert served.model is not None
            requests = served.model.requests
    chat = spans.one("invoke_agent")
    assert chat.parent is not None
    assert (chat.parent.trace_id, chat.parent.span_id, chat.parent.is_remote) == (TRACE, SPAN, True)
    assert [span.name for span in spans.all][-4:] == [
        "chat scripted",
        "execute_tool python",
        "chat scripted",
        "invoke_agent",
    ]
    assert [named(request) for request in requests] == [ids(span) for span in spans.named("chat scripted")]


@pytest.mark.parametrize("given", ["", "00-0-0-00", "x" * 5000, f"00-{0:032x}-{0:016x}-01", "é"])
async def test_what_is_no_trace_begins_a_new_one(tmp_path: Path, given: str) -> None:
    make_memories(tmp_path, {"ada": {}})
    with recording() as spans, trio.fail_after(30):
        async with serving(tmp_path, [reply("Yes.")], tracing=spans.config()) as served:
            body = {"model": "memory/ada", "messages": [{"role": "user", "content": "Hello"}]}
            headers = [(b"traceparent", given.encode("latin-1"))]
            answer = await served.client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    assert spans.one("invoke_agent").parent is None


async def test_a_stranger_names_no_trace(tmp_path: Path) -> None:
    """A client without a token is refused before any of its headers is read."""
    make_memories(tmp_path, {"ada": {}})
    with recording() as spans:
        async with serving(tmp_path, [reply("Yes.")], tracing=spans.config()) as served:
            headers = {**HEADERS, "Authorization": "Bearer wrong-wrong-wrong"}
            answer = await served.client.post("/v1/chat/completions", json={}, headers=headers)
    assert answer.status_code == 401 and not spans.all


async def test_two_clients_of_one_session_have_traces_of_their_own(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    with recording() as spans, trio.fail_after(30):
        async with serving(tmp_path, [reply("One."), reply("Two.")], tracing=spans.config()) as served:
            begun = await served.client.post("/api/memories/ada/chats", json={})
            session = json.loads(begun.text)["session"]
            for number in (1, 2):
                headers = {"traceparent": f"00-{number:032x}-{number:016x}-01"}
                said = await served.client.post(f"/api/chats/{session}/say", json={"text": "Hello"}, headers=headers)
                assert said.status_code < 300, said.text
                while len(spans.named("invoke_agent")) < number:
                    await trio.sleep(0.01)
    assert [span.parent and span.parent.trace_id for span in spans.named("invoke_agent")] == [1, 2]
