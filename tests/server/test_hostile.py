"""Hostile clients: each attack ends, leaves nothing behind, and does not disturb others."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import attrs
import pytest
import trio

from trioagent.server import ServerLimits

from .hostile import ATTACKS, BODIES, Target, talk
from .serving import Served, make_memories, reply, serving
from .test_chats import eventually, following
from .websocket import WebSocketClient

pytestmark = pytest.mark.real

LIMITS = ServerLimits(
    head_seconds=0.4, body_seconds=0.4, idle_seconds=0.6, token_seconds=0.4, write_seconds=0.4, unidentified=64
)


def target(served: Served) -> Target:
    return Target(served.address, served.server.token, patience=4.0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_attacks_leave_nothing_and_others_are_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of them at once."""
    limits = attrs.evolve(LIMITS, first_client_seconds=0.05)
    make_memories(tmp_path, {"ada": {}, "bo": {}})
    with caplog.at_level(logging.ERROR):
        async with (
            serving(tmp_path, lambda request: reply("Fine."), limits=limits, linger_seconds=0.05) as served,
            following(served, name="bo") as other,
        ):
            await other.receive()
            await say(other)  # starts what the first chat starts
            tasks, files = trio.lowlevel.current_statistics().tasks_living, open_files()
            async with trio.open_nursery() as nursery:
                for attack in ATTACKS:
                    nursery.start_soon(attack, target(served))
                for _ in range(5):
                    await say(other)
            await eventually(lambda: served.server.connections == 1, 10)
            await eventually(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks, 10)
            await eventually(lambda: open_files() <= files + 2, 10)  # more connections to the model
    assert [record.getMessage() for record in caplog.records] == []


async def say(client: WebSocketClient) -> None:
    await client.send(type="say", text="still there?")
    assert (await client.until("ended"))["outcome"] == "replied"


async def test_a_body_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, []) as served:
        for name, body in BODIES.items():
            for path in ("/v1/chat/completions", "/api/memories/ada/chats"):
                answer = await served.client.post(path, content=body)
                assert answer.status_code == 400, (name, answer.text)
                assert answer.json()["error"]["message"], name


@pytest.mark.parametrize(
    ("line", "headers", "status", "kind"),
    [
        ("GET / HTTP/1.1", ["X: " + "x" * 100_000], 431, "head_too_large"),
        ("GET / HTTP/1.1", ["Host: twice"], 400, "bad_request"),
        ("GET /\x01 HTTP/1.1", [], 400, "bad_request"),
        ("POST /v1/models HTTP/1.1", ["Content-Length: 99999999"], 413, "body_too_large"),
        ("POST /v1/models HTTP/1.1", ["Content-Length: 9"], 408, "body_too_slow"),
    ],
)
async def test_bounds_of_http_are_typed_errors(
    tmp_path: Path, line: str, headers: list[str], status: int, kind: str
) -> None:
    async with serving(tmp_path, limits=LIMITS) as served:
        answer = await talk(target(served), target(served).request(line, *headers))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert kind.encode() in answer
    assert b"Traceback" not in answer
