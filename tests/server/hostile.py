"""Clients that mean no good. Each attack is bounded in time; the test and the benchmark run them against a server."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_MASK = b"\x01\x02\x03\x04"


@attrs.frozen
class Target:
    """What an attacker knows of a server.

    Attributes:
        token: of the server; attackers on the way to a WebSocket have one, or nothing would come of it.
        patience: seconds that an attacker gives the server to react.
    """

    address: tuple[str, int]
    token: str
    memory: str = "ada"
    patience: float = 5.0

    @property
    def host(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def request(self, line: str = "GET /api/memories HTTP/1.1", *headers: str, body: bytes = b"") -> bytes:
        """A request that shows the token."""
        lines = [line, f"Host: {self.host}", f"Authorization: Bearer {self.token}", *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    def post(self, path: str, body: bytes, *headers: str) -> bytes:
        return self.request(f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers, body=body)

    def upgrade(self, *headers: str) -> bytes:
        """The handshake of a WebSocket."""
        return self.request(
            f"GET /ws/memories/{self.memory}/chat HTTP/1.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *headers,
        )


async def talk(target: Target, *pieces: bytes, pause: float = 0.0, reads: bool = True, handshake: bytes = b"") -> bytes:
    """Send *pieces*, and give what the server says until it closes the connection, or patience ends.

    Args:
        handshake: sent first, and answered, before the rest is sent.
    """
    received = b""
    try:
        with trio.move_on_after(target.patience):
            async with await trio.open_tcp_stream(*target.address) as stream:
                if handshake:
                    await stream.send_all(handshake)
                    await stream.receive_some(65536)
                async with trio.open_nursery() as nursery:

                    async def read() -> None:
                        nonlocal received
                        try:
                            while data := await stream.receive_some(65536):
                                received = (received + bytes(data))[-65536:]
                        except _GONE:
                            pass
                        nursery.cancel_scope.cancel()

                    if reads:
                        nursery.start_soon(read)
                    try:
                        for piece in pieces:
                            await stream.send_all(piece)
                            await trio.sleep(pause)
                    except _GONE:
                        pass
                    if not reads:
                        await trio.sleep(target.patience)
    except OSError:
        pass  # not even a connection
    return received


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, length: int | None = None) -> bytes:
    """A WebSocket frame, or what looks like one."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65536:
        head += bytes([mask_bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))


def text(value: Any) -> bytes:
    return frame(1, json.dumps(value).encode())


async def reset(target: Target, *pieces: bytes) -> None:
    """Send, and reset the connection."""
    try:
        stream = await trio.open_tcp_stream(*target.address)
        for piece in pieces:
            await stream.send_all(piece)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    except _GONE:
        pass


Attack = Callable[[Target], Awaitable[object]]


async def many(target: Target, number: int, attack: Attack) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(attack, target)


async def _handshake_then(target: Target, *frames: bytes, pause: float = 0.0) -> bytes:
    return await talk(target, *frames, pause=pause, handshake=target.upgrade())


async def slow_loris(target: Target) -> None:
    await talk(target, *(bytes([byte]) for byte in target.request()[:-2]), pause=0.05)


async def silence(target: Target) -> None:
    await talk(target)


async def slow_body(target: Target) -> None:
    head = target.request("POST /v1/chat/completions HTTP/1.1", "Content-Length: 1000")
    await talk(target, head, *([b"x"] * 200), pause=0.05)


async def huge_body(target: Target) -> None:
    await talk(target, target.request("POST /v1/chat/completions HTTP/1.1", "Content-Length: 99999999999"))


async def endless_body(target: Target) -> None:
    head = target.request("POST /v1/chat/completions HTTP/1.1", "Transfer-Encoding: chunked")
    await talk(target, head, *([b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 200))


async def huge_head(target: Target) -> None:
    await talk(target, target.request("GET / HTTP/1.1", "X-Large: " + "x" * 200_000))


async def endless_head(target: Target) -> None:
    await talk(target, b"GET / HTTP/1.1\r\n", *([b"X-More: more\r\n" * 100] * 100))


async def garbage(target: Target) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 1000,
        b"\r\n" * 1000,
        os.urandom(5000),
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        await talk(attrs.evolve(target, patience=1.0), data)


async def bad_requests(target: Target) -> None:
    quick = attrs.evolve(target, patience=1.0)
    for data in (
        target.request("GET /api/memories/%ff%fe/notes HTTP/1.1"),
        target.request("GET /api/memories/%00 HTTP/1.1"),
        target.request("GET /" + "a" * 10_000 + " HTTP/1.1"),
        target.request("GET / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        target.request("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        target.request("POST / HTTP/1.1", "Content-Length: -1"),
        target.request("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"zz\r\n"),
        target.request("GET / HTTP/1.1", "Host: other"),
        target.request("GET / HTTP/1.1", "X: \xff\xfe"),
        target.request("GET / HTTP/1.1", "Upgrade: h2c", "HTTP2-Settings: x", "Connection: Upgrade"),
        target.request("BREW /coffee HTTP/1.1"),
        target.request("CONNECT a:1 HTTP/1.1"),
    ):
        await talk(quick, data)


BODIES: Mapping[str, bytes] = {
    "deep": b"[" * 100_000,
    "bad UTF-8": b'{"model": "\xff\xfe"}',
    "half": b'{"model": "memory/ada", "messages": [',
    "a number": b"1e999",
    "a long number": b"9" * 100_000,
    "nulls": b"\0" * 100,
    "surrogates": b'{"model": "memory/ada", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "many values": b"[" + b"1," * 500_000 + b"1]",
    "many keys": b"{" + b",".join(b'"%d": 1' % number for number in range(50_000)) + b"}",
    "wrong types": b'{"model": {}, "messages": {"a": [1]}, "n": [], "stream": "maybe"}',
}


async def bad_bodies(target: Target) -> None:
    quick = attrs.evolve(target, patience=1.0)
    for body in BODIES.values():
        for path in ("/v1/chat/completions", f"/api/memories/{target.memory}/chats"):
            await talk(quick, target.post(path, body, "Connection: close"))


async def pipelining(target: Target) -> None:
    await talk(attrs.evolve(target, patience=1.0), target.request() * 500)


async def never_reads(target: Target) -> None:
    await talk(target, target.request() * 20, reads=False)


async def resets(target: Target) -> None:
    for pieces in ((), (target.request()[:20],), (target.request(),), (target.upgrade(),), (target.upgrade(), b"\x81")):
        await reset(target, *pieces)


async def wrong_tokens(target: Target) -> None:
    guess = attrs.evolve(target, token="x" * 43, patience=1.0)
    for _ in range(20):
        await talk(guess, guess.request("GET /api/memories HTTP/1.1", "Connection: close"))
    await talk(guess, guess.upgrade())


async def half_frame(target: Target) -> None:
    await _handshake_then(target, frame(1, b"x" * 10, length=1000))


async def half_frame_head(target: Target) -> None:
    await _handshake_then(attrs.evolve(target, patience=1.0), b"\x81")


async def slow_fragments(target: Target) -> None:
    begin = frame(1, b"{", fin=False)
    await _handshake_then(target, begin, *([frame(0, b" ", fin=False)] * 200), pause=0.05)


async def huge_frames(target: Target) -> None:
    await _handshake_then(target, frame(1, b"x" * 1000, length=2**62))
    await _handshake_then(target, frame(1, b"x" * 3_000_000))
    await _handshake_then(target, frame(1, b"x", fin=False), *([frame(0, b"x" * 60_000, fin=False)] * 100))


async def bad_frames(target: Target) -> None:
    quick = attrs.evolve(target, patience=1.0)
    for data in (
        frame(1, b"\xff\xfe\xfd"),
        frame(1, b'"\xed\xa0\x80"'),
        frame(1, b"{}", masked=False),
        frame(3, b""),
        frame(0, b"x"),
        frame(9, b"x" * 200),
        frame(8, b"\x00"),
        frame(8, b"\x03\xe8\xff\xff"),
        frame(2, b"binary"),
        bytes([0xF1]) + b"\x80" + _MASK,
        os.urandom(1000),
    ):
        await _handshake_then(quick, data)


async def bad_handshakes(target: Target) -> None:
    quick = attrs.evolve(target, patience=1.0)
    for data in (
        target.request("GET /ws/memories/ada/chat HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"),
        target.upgrade("Sec-WebSocket-Version: 99"),
        target.upgrade("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
        target.upgrade("Sec-WebSocket-Protocol: \xff"),
        target.upgrade().replace(b"/ada/", b"/%00/"),
        target.upgrade("Content-Length: 5") + b"12345",
    ):
        await talk(quick, data)


async def command_flood(target: Target) -> None:
    await _handshake_then(target, *([text({"type": "shout"}) * 100] * 50))


async def flood_without_reading(target: Target) -> None:
    await talk(target, *([text({"type": "shout"}) * 100] * 50), reads=False, handshake=target.upgrade())


async def ping_flood(target: Target) -> None:
    await _handshake_then(attrs.evolve(target, patience=1.0), *([frame(9, b"p" * 100) * 500] * 20))


async def say_and_vanish(target: Target) -> None:
    await reset(target, target.upgrade(), text({"type": "say", "text": "hi"}))


async def connection_flood(target: Target) -> None:
    await many(attrs.evolve(target, patience=1.0), 300, silence)


ATTACKS: tuple[Attack, ...] = (
    slow_loris,
    silence,
    slow_body,
    huge_body,
    endless_body,
    huge_head,
    endless_head,
    garbage,
    bad_requests,
    bad_bodies,
    pipelining,
    never_reads,
    resets,
    wrong_tokens,
    half_frame,
    half_frame_head,
    slow_fragments,
    huge_frames,
    bad_frames,
    bad_handshakes,
    command_flood,
    flood_without_reading,
    ping_flood,
    say_and_vanish,
    connection_flood,
)
