"""What clients may take of a server, limit by limit (floods of all kinds: see ``test_hostile.py``)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from trioagent._errors import InvalidInputError
from trioagent.server import ServerConfig, ServerLimits

from .hostile import Target, frame, talk
from .serving import Served, make_memories, reply, serving
from .test_chats import following
from .websocket import WebSocketClosed, WebSocketRefused

pytestmark = pytest.mark.real


def target(served: Served, patience: float = 5.0) -> Target:
    return Target(served.address, served.server.token, patience=patience)


async def closed(stream: trio.SocketStream) -> bool:
    """Whether the server has closed the connection, at the latest after some seconds."""
    with trio.move_on_after(5):
        try:
            return not await stream.receive_some()
        except trio.BrokenResourceError:
            return True
    return False


async def test_of_connections_without_a_token_the_oldest_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServerLimits(unidentified=2)) as served:
        oldest = await trio.open_tcp_stream(*served.address)
        async with oldest:
            with trio.fail_after(5):
                while not served.server.connections:
                    await trio.sleep(0.005)
                await talk(target(served, 0.2))
                async with await trio.open_tcp_stream(*served.address), await trio.open_tcp_stream(*served.address):
                    assert await closed(oldest)
                    assert (await served.client.get("/api/memories")).status_code == 200


async def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServerLimits(connections=1)) as served:
        assert (await served.client.get("/api/memories")).status_code == 200
        async with await trio.open_tcp_stream(*served.address) as second:
            assert await closed(second)
        assert (await served.client.get("/api/memories")).status_code == 200


async def test_chats_sessions_and_subscribers_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    limits = ServerLimits(chats=1, sessions=2, subscribers=1)

    async def answer(request: object) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(tmp_path, answer, limits=limits) as served, following(served) as one, following(served) as two:
        session = (await one.receive())["session"]
        await one.send(type="say", text="hi")
        await one.until("said")
        await two.send(type="say", text="hi")
        assert (await two.until("error"))["error"]["type"] == "too_many_chats"
        asked = {"model": "memory/ada", "messages": [{"role": "user", "content": "hi"}]}
        answered = await served.client.post("/v1/chat/completions", json=asked)
        assert (answered.status_code, answered.json()["error"]["code"]) == (429, "too_many_chats")
        with pytest.raises(WebSocketRefused) as refused:
            async with following(served):
                pass
        assert (refused.value.status, b"too_many_sessions" in refused.value.body) == (429, True)
        async with following(served, f"?session={session}") as third:
            assert (await third.receive())["error"]["type"] == "too_many_subscribers"
            with pytest.raises(WebSocketClosed):
                await third.receive()


async def test_a_message_that_is_too_long_closes_its_websocket(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [], limits=ServerLimits(message_bytes=2000)) as served:
        said = await talk(target(served, 1.0), frame(1, b"x" * 3000), handshake=target(served).upgrade())
    assert said.endswith(b"\x03\xf1")  # 1009


async def test_who_does_not_read_is_sent_away(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"large.md": "x" * 900_000}})
    async with serving(tmp_path, limits=ServerLimits(write_seconds=0.2)) as served:
        async with await trio.open_tcp_stream(*served.address) as stream:
            ask = target(served).request("GET /api/memories/ada/notes/large.md HTTP/1.1")
            await stream.send_all(ask)
            with trio.fail_after(10):
                while served.server.connections:
                    await trio.sleep(0.02)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"connections": 0}, "ServerLimits.connections"),
        ({"head_seconds": -1}, "ServerLimits.head_seconds"),
        ({"body_bytes": "many"}, "ServerLimits.body_bytes"),
        ({"chats": True}, "ServerLimits.chats"),
    ],
)
def test_limits_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        ServerLimits(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 70_000}, "ServerConfig.port"),
        ({"token": "short"}, "ServerConfig.token"),
        ({"token": "with a blank in it"}, "ServerConfig.token"),
        ({"allowed_hosts": ["a/b"]}, "ServerConfig.allowed_hosts"),
        ({"allowed_origins": ["chat.example.org"]}, "ServerConfig.allowed_origins"),
        ({"allowed_origins": ["https://a/b"]}, "ServerConfig.allowed_origins"),
        ({"grace_seconds": -1}, "ServerConfig.grace_seconds"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as refused:
        ServerConfig(**settings)  # type: ignore[arg-type]
    assert "blank in it" not in str(refused.value)


async def test_an_address_that_cannot_be(tmp_path: Path) -> None:
    async with serving(tmp_path / "a") as served:
        host, port = served.address
        for settings in ({"host": host, "port": port}, {"host": "203.0.113.9"}, {"host": "no such host"}):
            with pytest.raises(InvalidInputError, match="cannot listen on"):
                async with serving(tmp_path / "b", **settings):
                    pass


async def test_a_unix_socket_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "file", "is not a socket"), (tmp_path / ("x" * 120), "is longer than")):
        with pytest.raises(InvalidInputError, match=words):
            async with serving(tmp_path, unix_socket=path):
                pass
    live = tmp_path / "live"
    async with serving(tmp_path / "a", unix_socket=live):
        with pytest.raises(InvalidInputError, match="another server listens"):
            async with serving(tmp_path / "b", unix_socket=live):
                pass
    assert not live.exists()


async def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(tmp_path / "root", unix_socket=path) as served:
        assert (await served.client.get("/api/memories")).status_code == 200


@pytest.mark.parametrize(
    ("more", "after"),
    [
        ("", b""),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n", b""),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n", b"\x81\x02hi"),
    ],
    ids=["no key", "version 8", "a frame before it is accepted"],
)
async def test_a_handshake_that_is_none_is_answered_and_ends(tmp_path: Path, more: str, after: bytes) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [reply("Hello.")]) as served:
        head = (
            f"GET /ws/memories/ada/chat HTTP/1.1\r\nHost: {served.address[0]}:{served.address[1]}\r\n"
            f"Authorization: Bearer {served.server.token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}\r\n"
        )
        async with await trio.open_tcp_stream(*served.address) as client:
            await client.send_all(head.encode() + after)
            said = b""
            with trio.fail_after(5):
                while part := await client.receive_some():
                    said += part
    assert said.startswith(b"HTTP/1.1 400 ") and b'"type": "bad_handshake"' in said


@pytest.mark.parametrize("size", [1000, 2000])
async def test_a_head_is_bounded_though_it_comes_in_one_piece(tmp_path: Path, size: int) -> None:
    async with serving(tmp_path, limits=ServerLimits(header_bytes=1500)) as served:
        answer = await served.client.get("/healthz", headers={"X": "a" * size})
    assert answer.status_code == (200 if size == 1000 else 431)
    if size == 2000:
        assert answer.json()["error"]["type"] == "head_too_large"
