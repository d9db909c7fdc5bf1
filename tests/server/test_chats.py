"""Chats over WebSockets: what a client sees, and what is left when things go wrong."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._events import from_json
from trioagent.memory import VaultPolicy
from trioagent.testing import Fault, Say

from .serving import Served, code, make_memories, reply, serving
from .websocket import Json, WebSocketClient, WebSocketClosed, WebSocketRefused, open_websocket

pytestmark = pytest.mark.real

WAIT = 20.0
LOOP = code("while True:\n    pass")


@asynccontextmanager
async def following(served: Served, query: str = "", name: str = "ada") -> AsyncIterator[WebSocketClient]:
    """A WebSocket that has been greeted."""
    target = f"/ws/memories/{name}/chat{query}"
    with trio.fail_after(WAIT):
        async with open_websocket(served.address, target, token=served.server.token) as client:
            yield client


def running() -> set[int]:
    """Processes below this one that run at this moment, as a block in an endless loop always does."""
    parents, states = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        states[int(pid)], parents[int(pid)] = fields[0], int(fields[1])
    found, level = set(), {os.getpid()}
    while level := {pid for pid, parent in parents.items() if parent in level}:
        found |= {pid for pid in level if states[pid] == "R"}
    return found


async def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


async def test_a_chat_gives_the_librarys_own_events_with_numbers(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("done = create_file('user.md', 'Oslo')"), Say(reply("Noted."), chunk=4)]
    async with serving(tmp_path, answers) as served, following(served) as client:
        greeting = await client.receive()
        await client.send(type="say", text="I live in Oslo.", id="m1")
        messages: list[Json] = []
        while not messages or messages[-1]["type"] != "ended":
            messages.append(await client.receive())
    assert (greeting["type"], greeting["memory"], greeting["next"]) == ("session", "ada", 1)
    assert [message["n"] for message in messages] == list(range(1, len(messages) + 1))
    assert messages[0] == {"type": "said", "n": 1, "chat": 1, "text": "I live in Oslo.", "id": "m1"}
    assert (messages[-1]["outcome"], messages[-1]["chat"]) == ("replied", 1)
    events = [from_json(message["event"]) for message in messages if message["type"] == "event"]
    kinds = [kind for kind, _ in itertools.groupby(type(event).__name__ for event in events)]
    assert kinds == ["Delta", "Answered", "CodeStarted", "CodeResult", "Delta", "Answered", "Replied"]
    assert "".join(getattr(event, "text", "") for event in events if getattr(event, "kind", "") == "reply") == "Noted."
    assert (tmp_path / "ada" / "user.md").read_text() == "Oslo"


async def test_what_each_block_changed_is_told_after_its_result(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "# Ada\nOslo\n", "old.md": "old"}})
    answers = [
        code("update_file('user.md', 'Oslo', 'Berlin')\ndelete_file('old.md')\ncreate_file('new.md', 'new')"),
        code("x = read_file('user.md')"),
        reply("Noted."),
    ]
    async with serving(tmp_path, answers) as served, following(served) as client:
        await client.send(type="say", text="I moved.")
        messages: list[Json] = []
        while not messages or messages[-1]["type"] != "ended":
            messages.append(await client.receive())
    (told,) = [number for number, message in enumerate(messages) if message["type"] == "changes"]
    assert messages[told - 1]["event"]["type"] == "code_result"
    assert messages[told]["changes"] == [
        {"path": "new.md", "action": "made", "hunks": [{"before": 1, "after": 1, "lines": [["+", "new"]]}]},
        {"path": "old.md", "action": "deleted", "hunks": [{"before": 1, "after": 1, "lines": [["-", "old"]]}]},
        {
            "path": "user.md",
            "action": "changed",
            "hunks": [{"before": 1, "after": 1, "lines": [[" ", "# Ada"], ["-", "Oslo"], ["+", "Berlin"]]}],
        },
    ]


async def test_a_client_that_vanishes_in_a_block_leaves_no_child_and_no_half_note(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "before"}})
    work = code("update_file('user.md', 'before', 'after')\nwhile True:\n    pass")
    async with serving(tmp_path, [work], linger_seconds=0) as served:
        async with following(served) as client:
            await client.send(type="say", text="go")
            await client.until("code_started")
            await eventually(running)
            client.stream.socket.close()
        await eventually(lambda: not served.server.connections)
        await eventually(lambda: not running())
    assert (tmp_path / "ada" / "user.md").read_text() == "before"


async def test_who_comes_back_in_time_goes_on_where_it_was(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    go_on = trio.Event()

    async def answer(request: Any) -> str:
        await go_on.wait()
        return reply("Still here.")

    async with serving(tmp_path, answer) as served:
        async with following(served) as client:
            session = (await client.receive())["session"]
            await client.send(type="say", text="hi")
            await client.until("said")
            client.stream.socket.close()
        go_on.set()
        async with following(served, f"?session={session}&after={client.last_number}") as again:
            assert (await again.receive())["session"] == session
            first = await again.receive()
            ended = await again.until("ended")
    assert (first["n"], ended["outcome"]) == (2, "replied")


async def test_who_fell_off_the_ring_gets_a_snapshot(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = [code("x = 'y' * 19000"), reply("a" * 9000), reply("b" * 9000)]
    async with serving(tmp_path, answers) as served, following(served) as client:
        session = (await client.receive())["session"]
        for text in ("one", "two"):
            await client.send(type="say", text=text)
            await client.until("ended")
        async with following(served, f"?session={session}&after=1") as late:
            await late.receive()
            snapshot = await late.receive()
        async with following(served, f"?session={session}&after={client.last_number}") as current:
            assert (await current.receive())["next"] == client.last_number + 1
        async with following(served, f"?session={session}&after=999999") as confused:
            await confused.receive()
            assert (await confused.receive())["type"] == "snapshot"
    assert (snapshot["type"], snapshot["n"], snapshot["chat"]) == ("snapshot", client.last_number, None)
    roles = [message["role"] for message in snapshot["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]


async def test_a_snapshot_in_the_middle_of_an_answer_and_the_rest_make_the_whole(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    words = "one two three four five six seven eight nine ten " * 4
    async with serving(tmp_path, [Say(reply(words), chunk=5, pace=0.02)]) as served, following(served) as client:
        session = (await client.receive())["session"]
        await client.send(type="say", text="count")
        await client.until("delta")
        async with following(served, f"?session={session}") as late:
            await late.receive()
            snapshot = await late.receive()
            text = snapshot["chat"]["so_far"].get("reply", "")
            while (message := await late.receive())["type"] != "ended":
                event = message["event"]
                text += event["text"] if event["type"] == "delta" and event["kind"] == "reply" else ""
    assert text == words


async def test_two_clients_say_at_once(tmp_path: Path) -> None:
    """One of them is answered and both see it; the other is refused and can say it again."""
    make_memories(tmp_path, {"ada": {}})
    go_on = trio.Event()

    async def answer(request: Any) -> str:
        await go_on.wait()
        return reply("Hello.")

    async with serving(tmp_path, answer) as served, following(served) as one:
        session = (await one.receive())["session"]
        async with following(served, f"?session={session}&after=0") as two:
            await one.send(type="say", text="first")
            await one.until("said")
            await two.until("said")
            await two.send(type="say", text="second")
            refused = await two.until("error")
            go_on.set()
            assert (await one.until("ended")) == (await two.until("ended"))
            await two.send(type="say", text="second")
            assert (await one.until("said"))["text"] == "second"
            await one.until("ended", outcome="replied")
    assert (refused["error"]["type"], refused["error"]["status"]) == ("agent_busy", 409)


async def test_a_chat_that_is_cancelled_takes_its_children_along(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [LOOP, reply("Here again.")]) as served, following(served) as client:
        await client.send(type="say", text="go")
        await client.until("code_started")
        await eventually(running)
        await client.send(type="cancel")
        assert (await client.until("ended"))["outcome"] == "cancelled"
        await eventually(lambda: not running())
        await client.send(type="say", text="and now?")
        assert (await client.until("ended"))["outcome"] == "replied"


async def test_a_model_that_fails_is_a_typed_error_of_the_chat(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    failures = [Fault.status(400, "no such model"), reply("Here.")]
    async with serving(tmp_path, failures) as served, following(served) as client:
        await client.send(type="say", text="hi")
        ended = await client.until("ended")
        await client.send(type="say", text="hi")
        assert (await client.until("ended"))["outcome"] == "replied"
    assert (ended["outcome"], ended["error"]["type"]) == ("failed", "model_status")
    assert ended["error"]["advice"]


async def test_stopping_the_server_lets_a_chat_end_and_refuses_new_ones(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}, "bo": {}})
    go_on = trio.Event()

    async def answer(request: Any) -> str:
        await go_on.wait()
        return reply("Just in time.")

    async with serving(tmp_path, answer) as served, following(served) as one, following(served, name="bo") as two:
        await one.send(type="say", text="hi")
        await one.until("said")
        served.server.stop()
        await two.send(type="say", text="hi")
        assert (await two.until("error"))["error"]["type"] == "stopping"
        go_on.set()
        assert (await one.until("ended"))["outcome"] == "replied"
        for client in (one, two):
            await client.until("closed")
            with pytest.raises(WebSocketClosed):
                await client.receive()


async def test_a_server_that_is_cancelled_in_a_block_leaves_nothing(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "before"}})
    work = code("update_file('user.md', 'before', 'after')\nwhile True:\n    pass")
    async with serving(tmp_path, [work]) as served, following(served) as client:
        await client.send(type="say", text="go")
        await client.until("code_started")
        served.scope.cancel()
        with pytest.raises((WebSocketClosed, trio.BrokenResourceError)):
            while True:
                await client.receive()
    assert not running()
    assert (tmp_path / "ada" / "user.md").read_text() == "before"


async def test_a_watcher_that_does_not_read_stalls_nobody_and_gets_a_snapshot(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    answers = itertools.repeat(reply("z" * 60_000))
    async with serving(tmp_path, answers) as served, following(served) as client:
        session = (await client.receive())["session"]
        async with following(served, f"?session={session}&after=0") as stalled:
            stalled.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await stalled.receive()
            for number in range(8):  # 1.4 MB, of which the kernel keeps a part
                await client.send(type="say", text=f"message {number}")
                await client.until("ended", outcome="replied")
            numbers, snapshots = [], 0
            while stalled.last_number < client.last_number:
                message = await stalled.receive()
                numbers.append(message["n"])
                snapshots += message["type"] == "snapshot"
    assert snapshots == 1
    assert len(numbers) < client.last_number
    assert numbers == sorted(numbers)


async def test_a_session_ends_a_while_after_its_last_client_has_left(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [LOOP], linger_seconds=0.05) as served:
        async with following(served) as client:
            session = (await client.receive())["session"]
            await trio.sleep(0.2)
            await client.send(type="say", text="go")
            await client.until("code_started")
            await eventually(running)
        await eventually(lambda: not running())
        with trio.fail_after(5):
            while (await served.client.get(f"/api/chats/{session}")).status_code != 404:
                await trio.sleep(0.01)
        with pytest.raises(WebSocketRefused) as refused:
            async with following(served, f"?session={session}"):
                pass
        with pytest.raises(WebSocketRefused) as confused:
            async with following(served, "?after=soon"):
                pass
    assert (refused.value.status, confused.value.status) == (404, 400)


async def test_a_block_waits_for_review(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "Oslo"}})
    change = code("update_file('user.md', 'Oslo', 'Rome')")
    async with serving(tmp_path, [change, change, change, reply("Done.")]) as served:
        async with following(served, "?review=ask") as client:
            await client.send(type="say", text="I moved.")
            first = await client.until("review")
            await client.send(type="review", review=first["review"], decision="reject", reason="not yet")
            rejected = await client.until("code_result")
            second = await client.until("review")
            await client.send(type="review", review=first["review"], decision="accept")
            stale = await client.until("error")
            edited = {"user.md": "Paris"}
            await client.send(type="review", review=second["review"], decision="edit", notes=edited)
            await client.until("ended", outcome="replied")
    assert (first["paths"], "+Rome" in first["diff"]) == (["user.md"], True)
    assert "not yet" in rejected["event"]["result"]["error"]
    assert stale["error"]["type"] == "no_such_review"
    assert (tmp_path / "ada" / "user.md").read_text() == "Paris"


async def test_agents_keep_to_the_policy_of_the_server(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "Oslo"}})
    writes = [code("create_file('other.md', 'x')"), code("create_file('entities/bo.md', 'x')"), reply("Done.")]
    policy = VaultPolicy(writable=("entities/**",))
    async with serving(tmp_path, writes, policy=policy) as served, following(served) as client:
        await client.send(type="say", text="write")
        await client.until("ended", outcome="replied")
    assert not (tmp_path / "ada" / "other.md").exists()
    assert (tmp_path / "ada" / "entities" / "bo.md").read_text() == "x"


async def test_the_last_message_can_be_taken_back(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {"user.md": "Oslo"}})
    async with serving(tmp_path, [code("update_file('user.md', 'Oslo', 'Rome')"), reply("Noted.")]) as served:
        async with following(served) as client:
            await client.send(type="say", text="I moved.")
            await client.until("ended", outcome="replied")
            assert (tmp_path / "ada" / "user.md").read_text() == "Rome"
            await client.send(type="undo")
            undone = await client.until("undone")
            await client.send(type="undo")
            nothing = await client.until("error")
    assert undone["paths"] == ["user.md"]
    assert nothing["error"]["type"] == "nothing_to_undo"
    assert (tmp_path / "ada" / "user.md").read_text() == "Oslo"


BAD: list[tuple[Json, str]] = [
    ({"type": "shout"}, "command.type"),
    ({}, "command.type"),
    ({"type": "say"}, "text"),
    ({"type": "say", "text": 7}, "command.text"),
    ({"type": "say", "text": " "}, "message"),
    ({"type": "say", "text": "x", "loud": True}, "loud"),
    ({"type": "review", "review": 1, "decision": "maybe"}, "decision"),
    ({"type": "review", "review": 1, "decision": "accept"}, "review 1"),
]


async def test_commands_that_cannot_be_used_are_typed_errors_and_harm_nothing(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [reply("Fine.")]) as served, following(served) as client:
        for command, words in BAD:
            await client.send(**command)
            error = (await client.until("error"))["error"]
            assert words in error["message"], error
            assert error["advice"]
        await client.send(type="say", text="still there?")
        assert (await client.until("ended"))["outcome"] == "replied"


async def test_a_client_without_headers_sends_the_token_first(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [reply("Fine.")]) as served:
        target = "/ws/memories/ada/chat"
        async with open_websocket(served.address, target) as client:
            await client.send(type="token", token=served.server.token)
            assert (await client.receive())["type"] == "session"
        for first in ({"type": "token", "token": "wrong"}, {"type": "say", "text": "hi"}):
            async with open_websocket(served.address, target) as client:
                await client.send(**first)
                assert (await client.receive())["type"] == "error"
                with pytest.raises(WebSocketClosed):
                    await client.receive()
        with pytest.raises(WebSocketRefused) as refused:
            async with open_websocket(served.address, target, token="x" * 20):
                pass
        assert refused.value.status == 401
        with pytest.raises(WebSocketRefused) as refused:
            async with open_websocket(served.address, target, headers={"Origin": "https://evil.example"}):
                pass
        assert refused.value.status == 403


async def test_who_never_sends_a_token_is_sent_away(tmp_path: Path) -> None:
    from trioagent.server import ServerLimits

    async with serving(tmp_path, limits=ServerLimits(token_seconds=0.05)) as served:
        with trio.fail_after(WAIT):
            async with open_websocket(served.address, "/ws/memories/ada/chat") as client:
                assert (await client.receive())["error"]["type"] == "no_token"


async def events(served: Served, target: str, until: bytes, *headers: str) -> list[tuple[int, Json]]:
    """Server-sent events up to one that holds *until*: ids, 0 for none, and data."""
    host, port = served.address
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", f"Authorization: Bearer {served.server.token}", *headers]
    received = b""
    with trio.fail_after(WAIT):
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            while until not in received:
                received += bytes(data := await stream.receive_some())
                assert data, received
    assert b"content-type: text/event-stream" in received
    found = re.findall(rb"(?:id: (\d+)\n)?data: (.*)\n\n", received)
    return [(int(number or 0), json.loads(data)) for number, data in found]


async def test_the_same_by_events_and_posts(tmp_path: Path) -> None:
    make_memories(tmp_path, {"ada": {}})
    async with serving(tmp_path, [reply("Hello.")]) as served:
        made = await served.client.post("/api/memories/ada/chats")
        url = f"/api/chats/{made.json()['session']}"
        said = await served.client.post(f"{url}/say", json={"text": "hi"})
        seen = await events(served, f"{url}/events?after=0", b'"ended"')
        numbers = [number for number, _ in seen[1:]]
        rest = await events(served, f"{url}/events", b'"ended"', f"Last-Event-ID: {numbers[-2]}")
        snapshot = await events(served, f"{url}/events", b'"snapshot"')
        refused = await served.client.post(f"{url}/say", json={"text": ""})
        unknown = await served.client.post(f"{url}/dance")
        closed = await served.client.delete(url)
        gone = await served.client.get(f"{url}/events")
    assert (made.status_code, said.status_code, said.json()) == (201, 202, {"chat": 1})
    assert [message["type"] for _, message in seen[:2]] == ["session", "said"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [number for number, _ in rest] == [0, numbers[-1]]
    assert (snapshot[-1][0], snapshot[-1][1]["messages"][-1]["role"]) == (numbers[-1], "assistant")
    assert (refused.status_code, unknown.status_code, closed.status_code, gone.status_code) == (400, 404, 200, 404)


@pytest.mark.parametrize("name", ["nobody", "..", "a%2Fb", ".hidden", "%2e%2e%2fetc", "link"])
async def test_names_are_no_paths(tmp_path: Path, name: str) -> None:
    make_memories(tmp_path / "root", {"ada": {}, ".hidden": {}})
    make_memories(tmp_path, {"elsewhere": {}})
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    async with serving(tmp_path / "root", []) as served:
        with pytest.raises(WebSocketRefused) as refused:
            async with following(served, name=name):
                pass
    assert refused.value.status == 404
