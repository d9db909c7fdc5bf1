"""CPU and wall time of a model request, over ways to carry it: ``python -m benchmarks.model_requests [tasks ...]``.

Each task asks three times in a row; a loopback server in its own process answers after a second, so three seconds are
the least. CPU is the client process's, per request.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from multiprocessing.connection import Connection

import httpx
import trio

from trioagent._config import ModelConfig
from trioagent._messages import ChatMessage
from trioagent.models import open_model
from trioagent.models._encode import RequestEncoder
from trioagent.models._http1 import post_head
from trioagent.testing import Say, serve_model

LATENCY = 1.0
ROUNDS = 3
ANSWER = "<think>The user told me where they live.</think>\n<python></python>\n<reply>" + "Noted. " * 30 + "</reply>"
MESSAGES = [ChatMessage("system", "You keep notes. " * 250), ChatMessage("user", "I moved to Berlin.")]

Ask = Callable[[], Awaitable[None]]


def serve(pipe: Connection, latency: float) -> None:
    """The server's process: says where it listens, and serves until it is killed."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            say = Say(ANSWER, delay=latency, chunk=40)
            server = await nursery.start(partial(serve_model, lambda request: say, record=False))
            pipe.send(server.base_url)

    trio.run(main)


@contextmanager
def server_process(latency: float) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, latency), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


class OneRequestTransports(httpx.AsyncBaseTransport):
    """The other design: a free list of httpx's own transports, each carrying one request at a time."""

    def __init__(self) -> None:
        self._ssl = httpx.create_ssl_context(trust_env=False)
        self._free: list[httpx.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        carrier = self._free.pop() if self._free else httpx.AsyncHTTPTransport(verify=self._ssl, trust_env=False)
        response = await carrier.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=_Returning(self._free, carrier, response.stream)
        )

    async def aclose(self) -> None:
        for carrier in self._free:
            await carrier.aclose()


class _Returning(httpx.AsyncByteStream):
    def __init__(
        self, free: list[httpx.AsyncHTTPTransport], carrier: httpx.AsyncHTTPTransport, stream: httpx.AsyncByteStream
    ) -> None:
        self._free, self._carrier, self._stream = free, carrier, stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()
        self._free.append(self._carrier)


@asynccontextmanager
async def our_model(base_url: str, transport: httpx.AsyncBaseTransport | None) -> AsyncIterator[Ask]:
    async with open_model(ModelConfig(base_url=base_url, model="bench"), transport=transport) as model:

        async def ask() -> None:
            text = ""
            async with model.answer(MESSAGES) as parts:
                async for part in parts:
                    text += getattr(part, "text", "")
            assert text == ANSWER

        yield ask


@asynccontextmanager
async def one_client(base_url: str) -> AsyncIterator[Ask]:
    """A whole httpx client and its pool, body read and not decoded."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    body = {
        "model": "bench",
        "stream": True,
        "messages": [{"role": message.role, "content": message.content} for message in MESSAGES],
    }
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:

        async def ask() -> None:
            async with client.stream("POST", base_url + "/chat/completions", json=body) as response:
                await response.aread()

        yield ask


@asynccontextmanager
async def raw_sockets(base_url: str) -> AsyncIterator[Ask]:
    """Nothing but a ready request sent and bytes received up to what ends a chunked body; connections are kept."""
    url = httpx.URL(base_url)
    port = url.port or 80
    body = RequestEncoder(ModelConfig(base_url=base_url, model="bench")).encode(MESSAGES)
    head = post_head(url.raw_path + b"/chat/completions", url.netloc.decode(), [])
    request = b"%b%d\r\n\r\n%b" % (head, len(body), body)
    free: list[trio.SocketStream] = []

    async def ask() -> None:
        stream = free.pop() if free else await trio.open_tcp_stream(url.host, port)
        await stream.send_all(request)
        end = b""
        while end != b"\r\n0\r\n\r\n":
            end = (end + await stream.receive_some())[-7:]
        free.append(stream)

    yield ask
    for stream in free:
        await stream.aclose()


WAYS = {
    "the limit: bytes over Trio's sockets, not read": raw_sockets,
    "trioagent": lambda url: our_model(url, None),
    "trioagent over httpx transports, 1 request each": lambda url: our_model(url, OneRequestTransports()),
    "bare httpx client, its own pool": one_client,
}


async def measure(opened: Callable[[str], object], url: str, tasks: int) -> tuple[float, float]:
    """CPU milliseconds per request, and wall seconds."""

    async def one(ask: Ask) -> None:
        for _ in range(ROUNDS):
            await ask()

    async with opened(url) as ask:  # type: ignore[attr-defined]
        await ask()
        cpu, wall = time.process_time(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(one, ask)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return 1000 * cpu / (tasks * ROUNDS), wall


def main(arguments: list[str]) -> None:
    numbers = [int(argument) for argument in arguments] or [1, 100, 1000]
    print(f"three requests of {LATENCY:g} s in a row from each task; CPU of the client per request, and wall")
    with server_process(LATENCY) as url:
        for name, opened in WAYS.items():
            for tasks in numbers:
                try:
                    cpu, wall = trio.run(measure, opened, url, tasks)
                except BaseExceptionGroup as group:
                    print(f"{name:50} {tasks:5} tasks: failed with {group.exceptions[0]!r}")
                else:
                    print(f"{name:50} {tasks:5} tasks: {cpu:6.2f} ms, {wall:5.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
