"""Requests one after the other on one connection, however early the next one comes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from .serving import Served, make_memories, serving

pytestmark = pytest.mark.real
SECONDS = 20


async def read_answers(stream: trio.SocketStream, count: int) -> list[bytes]:
    """So many answers, each with a Content-Length; their bodies."""
    data = b""
    bodies: list[bytes] = []
    with trio.fail_after(SECONDS):
        while len(bodies) < count:
            head, found, rest = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            if found and len(rest) >= length:
                bodies.append(rest[:length])
                data = rest[length:]
                continue
            more = await stream.receive_some()
            assert more, (bodies, data)
            data += more
    return bodies


def request(served: Served, line: str, body: bytes = b"") -> bytes:
    host, port = served.address
    lines = [
        f"{line} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Authorization: Bearer {served.server.token}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_requests_that_come_at_once_are_answered_in_order(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada"}})
    async with serving(tmp_path) as served:
        stream = await trio.open_tcp_stream(*served.address)
        async with stream:
            lines = ["GET /api/memories", "GET /healthz", "GET /api/memories/ada/tree"] * 5
            await stream.send_all(b"".join(request(served, line) for line in lines))
            bodies = await read_answers(stream, len(lines))
    assert [b"memories" in body for body in bodies] == [True, False, False] * 5
    assert [b"user.md" in body for body in bodies] == [False, False, True] * 5


async def test_a_held_request_may_come_in_pieces(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path) as served:
        stream = await trio.open_tcp_stream(*served.address)
        async with stream:
            second = request(served, "POST /api/memories", b'{"name": "bob"}')
            await stream.send_all(request(served, "GET /api/memories/ada/tree") + second[:40])
            for start in range(40, len(second), 30):
                await stream.send_all(second[start : start + 30])
                await trio.lowlevel.checkpoint()
            _, made = await read_answers(stream, 2)
    assert made == b'{"memories": ["ada", "bob"]}'


async def test_more_than_is_held_ends_the_connection_and_nothing_else(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path) as served:
        stream = await trio.open_tcp_stream(*served.address)
        with trio.fail_after(SECONDS):
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(send_without_end, stream, request(served, "GET /api/memories") * 500)
                with suppress(trio.BrokenResourceError):  # a reset, where it had not read all that was sent
                    while await stream.receive_some():
                        pass
                nursery.cancel_scope.cancel()
        assert (await served.client.get("/healthz")).status_code == 200


async def send_without_end(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(data)
