"""The server's figures: ``python -m benchmarks server [--chats N] [--hostile SECONDS]``.

``trioagent serve`` runs as a process of its own, and so does the model. Measured are the memory of idle WebSocket
chats, the first event after a ``say``, the time from the end of a chat to the death of its block, and the processor
time that streaming adds to an answer. ``--hostile`` instead runs attacks for so long, and shows memory, connections
and whether others are served.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from tests.server.hostile import ATTACKS, Target
from tests.server.websocket import WebSocketClient, open_websocket
from trioagent import Agent, ModelConfig, open_runtime

from ._measure import machine, model_server, own_cpu, table

TOKEN = "a-token-for-benchmarks"
CHATS, SAYS, ENDS, ANSWERS = 1000, 200, 100, 300
REPLY = "<think>I know.</think>\n<python></python>\n<reply>" + "word " * 60 + "</reply>"
LOOP = "<think>Go.</think>\n<python>\nwhile True:\n    pass\n</python>"
_TICK = os.sysconf("SC_CLK_TCK")


def say_reply(messages: int) -> str:
    """The model's answer."""
    return REPLY


def say_loop(messages: int) -> str:
    """A block without an end."""
    return LOOP


@attrs.frozen
class Served:
    """A running ``trioagent serve``."""

    pid: int
    address: tuple[str, int]

    @property
    def rss(self) -> int:
        """Resident bytes of the server's own process."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu(self) -> float:
        """Processor seconds of the server's own process."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def files(self) -> int:
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def running(self) -> list[int]:
        """The processes below it that run at this moment."""
        found, todo = [], [self.pid]
        while todo:
            parent = todo.pop()
            try:
                children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
                for pid in children:
                    if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R":
                        found.append(pid)
            except OSError:
                continue
            todo += children
        return found


@asynccontextmanager
async def serving(base_url: str) -> AsyncIterator[Served]:
    """``trioagent serve`` over an empty memory "ada"."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "ada").mkdir()
        command = [sys.executable, "-m", "trioagent", "serve", root, "--port", "0", "--grace", "0"]
        command += ["--model", "any", "--base-url", base_url]
        env = {**os.environ, "TRIOAGENT_SERVER_TOKEN": TOKEN}
        process = await trio.lowlevel.open_process(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            line = b""
            while not line.endswith(b"\n"):
                line += bytes(await process.stdout.receive_some())
            host, port = line.decode().partition("http://")[2].partition("/")[0].split(":")
            yield Served(process.pid, (host, int(port)))
        finally:
            with trio.CancelScope(shield=True):
                process.terminate()
                with trio.move_on_after(10):
                    await process.wait()
                process.kill()
                await process.wait()
                await process.stdout.aclose()


def chatting(served: Served) -> AbstractAsyncContextManager[WebSocketClient]:
    """A WebSocket to the memory."""
    return open_websocket(served.address, "/ws/memories/ada/chat", token=TOKEN)


async def idle_bytes(served: Served, number: int) -> float:
    """Bytes of the server for one idle chat."""
    async with AsyncExitStack() as stack:
        for _ in range(20):  # what the first ones start is not theirs
            await (await stack.enter_async_context(chatting(served))).receive()
        before = served.rss
        for _ in range(number):
            await (await stack.enter_async_context(chatting(served))).receive()
        await trio.sleep(0.5)
        return (served.rss - before) / number


async def first_event_seconds(served: Served, number: int) -> list[float]:
    """From a ``say`` to the first event, seen by the client."""
    found = []
    async with chatting(served) as client:
        await client.receive()
        for _ in range(number):
            began = time.perf_counter()
            await client.send(type="say", text="hi")
            await client.receive()
            found.append(time.perf_counter() - began)
            await client.until("ended")
    return found


async def release_seconds(served: Served, number: int) -> tuple[list[float], list[float]]:
    """From a cancel, and from a plain HTTP client's leaving, to the death of the block's process."""
    cancelled, left = [], []
    async with chatting(served) as client:
        await client.receive()
        for _ in range(number):
            await client.send(type="say", text="go")
            await client.until("code_started")
            await _until(served.running)
            began = time.perf_counter()
            await client.send(type="cancel")
            await _until(lambda: not served.running())
            cancelled.append(time.perf_counter() - began)
            await client.until("ended")
    target = Target(served.address, TOKEN)
    for index in range(number):
        messages = [{"role": "user", "content": f"go {index}"}]
        body = json.dumps({"model": "memory/ada", "messages": messages}).encode()
        stream = await trio.open_tcp_stream(*served.address)
        await stream.send_all(target.post("/v1/chat/completions", body))
        await _until(served.running)
        began = time.perf_counter()
        stream.socket.close()
        await _until(lambda: not served.running())
        left.append(time.perf_counter() - began)
    return cancelled, left


async def _until(condition: Callable[[], object]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of another process
            await trio.sleep(0.001)


async def streaming_seconds(served: Served, base_url: str, number: int) -> tuple[float, float]:
    """Processor seconds for an answer: of the server, and of the library alone."""
    async with chatting(served) as client:
        await client.receive()
        await _say(client, 20)
        before = served.cpu
        await _say(client, number)
        of_server = (served.cpu - before) / number
    with tempfile.TemporaryDirectory() as root:
        async with open_runtime(ModelConfig(base_url=base_url, model="any")) as runtime:
            agent = Agent(runtime, memory_path=root)
            await _stream(agent, 20)
            before = own_cpu()
            await _stream(agent, number)
            alone = (own_cpu() - before) / number
    return of_server, alone


async def _say(client: WebSocketClient, number: int) -> None:
    for _ in range(number):
        await client.send(type="say", text="hi")
        await client.until("ended")


async def _stream(agent: Agent, number: int) -> None:
    for _ in range(number):
        async with agent.stream_chat("hi") as events:
            async for _ in events:
                pass


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def measure_figures(chats: int) -> None:
    """All figures, as a table."""
    with model_server(0.0, say_reply) as base_url:
        async with serving(base_url) as served:
            events = await first_event_seconds(served, SAYS)
            of_server, alone = await streaming_seconds(served, base_url, ANSWERS)
            idle = await idle_bytes(served, chats)
    with model_server(0.0, say_loop) as base_url:
        async with serving(base_url) as served:
            cancelled, left = await release_seconds(served, ENDS)
    table(
        [
            (f"an idle WebSocket chat, of {chats:,}", f"{idle / 1024:.0f} KiB", "<= 80 KiB"),
            ("first event after a say, median", _ms(statistics.median(events)), ""),
            ("first event after a say, p99", _ms(_p99(events)), "<= 5 ms"),
            ("cancel to dead block, median", _ms(statistics.median(cancelled)), ""),
            ("cancel to dead block, p99", _ms(_p99(cancelled)), "<= 50 ms"),
            ("HTTP client gone to dead block, median", _ms(statistics.median(left)), ""),
            ("HTTP client gone to dead block, p99", _ms(_p99(left)), "<= 50 ms"),
            ("CPU an answer of 60 words, library alone", _ms(alone), ""),
            ("CPU that the server adds to it", _ms(of_server - alone), "<= 1 ms"),
        ]
    )


async def withstand(seconds: float) -> None:
    """Attacks for so long; a line a round."""
    with model_server(0.0, say_reply) as base_url:
        async with serving(base_url) as served, chatting(served) as other:
            await other.receive()
            await _say(other, 1)
            target = Target(served.address, TOKEN, patience=12.0)
            ends, number = trio.current_time() + seconds, 0
            print(f"{'round':>5} {'seconds':>8} {'RSS':>9} {'files':>6} {'slowest answer to another':>26}")
            while trio.current_time() < ends:
                began, number, answers = time.perf_counter(), number + 1, []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_attack_all, target)
                    for _ in range(20):
                        said = time.perf_counter()
                        await _say(other, 1)
                        answers.append(time.perf_counter() - said)
                        await trio.sleep(0.3)
                await trio.sleep(3)
                took = time.perf_counter() - began
                rss = f"{served.rss / 2**20:.1f} MB"
                print(f"{number:>5} {took:>8.1f} {rss:>9} {served.files:>6} {_ms(max(answers)):>26}", flush=True)


async def _attack_all(target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for attack in ATTACKS:
            nursery.start_soon(attack, target)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks server", description=__doc__)
    parser.add_argument("--chats", type=int, default=CHATS, help="idle WebSocket chats")
    parser.add_argument("--hostile", type=float, metavar="SECONDS", help="attacks for so long, instead of the figures")
    options = parser.parse_args()
    print(machine())
    work: Callable[[], Awaitable[None]] = (
        partial(withstand, options.hostile) if options.hostile else partial(measure_figures, options.chats)
    )
    trio.run(work)


if __name__ == "__main__":
    main()
