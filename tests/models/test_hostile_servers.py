"""Servers that mean harm, over real sockets: a typed error or the caller's own cancel, and the host stays small."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from trioagent._errors import ModelError, ModelProtocolError, ModelStatusError
from trioagent.models._http1 import ResponseReader
from trioagent.testing import Fault, Say, Wire

from .support import ONCE, ask, model_before, serving

pytestmark = pytest.mark.real

BOMB = gzip.compress(b"0" * 10**7)
OK = b"HTTP/1.1 200 OK\r\n"
SSE = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON = OK + b"Content-Type: application/json\r\n"


@attrs.frozen
class Endless:
    """Pieces that may be sent again for each request."""

    head: bytes
    piece: bytes
    times: int = 10**9

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain([self.head], itertools.repeat(self.piece, self.times))


def wire(head: bytes, piece: bytes = b"", times: int = 10**9) -> Wire:
    return Wire(Endless(head, piece, times) if piece else (head,), then="close")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


DELTA = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"word " * 2000)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        # heads
        (wire(OK, b"X-Bomb: " + b"x" * 8000 + b"\r\n"), ModelProtocolError, "does not speak HTTP"),
        (wire(OK, b"X: 1\r\n" * 1000), ModelProtocolError, "does not speak HTTP"),  # 10^5 headers and on
        (wire(OK + b"X-Long: ", b"x" * 65536), ModelProtocolError, "does not speak HTTP"),
        (wire(b"HTTP/1.1 200 " + b"O" * 200_000), ModelProtocolError, "does not speak HTTP"),
        (wire(OK, b" folded\r\n"), ModelProtocolError, "does not speak HTTP"),
        (wire(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ModelProtocolError, "interim responses"),
        (wire(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), ModelProtocolError, "does not speak HTTP"),
        (wire(b"HTTP/2.0 200 OK\r\n\r\n"), ModelProtocolError, ""),
        (wire(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"), ModelProtocolError, "HTTP"),
        (wire(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), ModelProtocolError, "does not speak HTTP"),
        (wire(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"), ModelError, ""),
        (wire(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: gzip\r\n\r\n"), ModelError, ""),
        (wire(b"HTTP/1.1 777 What\r\nContent-Length: 0\r\n\r\n"), ModelStatusError, "status 777"),
        (wire(OK + b"Content-Type: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}"), ModelProtocolError, "choices"),
        # bodies
        (wire(SSE, chunk(DELTA)), ModelProtocolError, "its text is longer"),
        (wire(SSE, chunk((b": " + b"c" * 5000 + b"\n") * 12)), ModelProtocolError, "longer than 64 MiB"),
        (wire(SSE, chunk(b"data: x" * 9000)), ModelProtocolError, "longer than 1048576 bytes"),
        (wire(SSE, chunk((b"data: " + b"c" * 500 + b"\n") * 120)), ModelProtocolError, "event of the stream is longer"),
        (wire(SSE, b"5;" + b"x" * 200_000), ModelProtocolError, "does not speak HTTP"),
        (wire(SSE + b"-1\r\n"), ModelProtocolError, "does not speak HTTP"),
        (wire(SSE + b"ffffffffffffffffffff\r\n" + b"x" * 5), ModelError, ""),
        (wire(SSE + b"0\r\n", b"X-Trailer: x\r\n" * 1000), ModelError, ""),
        (wire(SSE + chunk(b'data: {"choices":[{"delta":{"content":"' + b"[" * 900_000 + b'"}}]}\n\n')), ModelError, ""),
        (wire(SSE + chunk(b"data: " + b"[" * 900_000 + b"\n\n")), ModelProtocolError, "not a JSON object"),
        (wire(SSE + chunk(b"data: " + b'{"a":' * 100_000 + b"\n\n")), ModelProtocolError, "not a JSON object"),
        (wire(JSON + b"Content-Length: 1000000000\r\n\r\n", b" " * 65536, 16_000), ModelProtocolError, "longer than"),
        (wire(JSON + b"\r\n", b'{"a": "' + b"x" * 65536), ModelProtocolError, "longer than 8388608"),
        (wire(JSON + b"Content-Encoding: gzip\r\n\r\n" + BOMB), ModelProtocolError, "longer than 8388608"),
        (wire(JSON + b"Content-Encoding: gzip\r\n\r\nnot gzip"), ModelProtocolError, "its gzip encoding is broken"),
        (wire(JSON + b"Content-Encoding: gzip, gzip, br\r\n\r\n"), ModelProtocolError, "was not requested"),
        (wire(b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n\r\n" + BOMB), ModelStatusError, ""),
        (wire(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"x" * 60_000)), ModelStatusError, "xxx"),
        (wire(b"HTTP/1.1 429 No\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n"), ModelStatusError, ""),
        (wire(b"HTTP/1.1 301 No\r\nLocation: http://[::1\r\n\r\n"), ModelStatusError, "redirects to"),
        (wire(b"HTTP/1.1 302 No\r\nLocation: \xff\xfe\r\n\r\n"), ModelStatusError, "redirects to"),
        (Fault.json({"error": {"message": "\x1b]0;owned\x07\ud800", "code": 500}}), ModelStatusError, "]0;owned"),
        (Fault.json({"error": {"message": "x", "code": 10**30}}), ModelProtocolError, "reports an error: x"),
    ],
)  # fmt: skip
async def test_typed_and_bounded(answer: Wire, error: type[ModelError], words: str) -> None:
    async with serving([answer]) as server, model_before(server, retry=ONCE) as model:
        with pytest.raises(error) as caught:
            await ask(model)
    text = str(caught.value)
    assert words in text
    assert text.isprintable() and len(text) < 2500, text


def test_the_number_of_chunks_is_bounded() -> None:
    """A chunk of one byte costs as much as a long one."""
    reader = ResponseReader(max_chunks=20_000)
    reader.feed(SSE)
    reader.feed(b"1\r\nd\r\n" * 20_000)
    with pytest.raises(ModelProtocolError, match="more than 20000 chunks"):
        reader.feed(b"1\r\nd\r\n")


async def test_a_stream_that_never_ends_is_cut_and_its_connection_closed() -> None:
    async with serving([Fault.endless("x" * 50_000)]) as server, model_before(server, retry=ONCE) as model:
        with pytest.raises(ModelProtocolError, match="longer than"):
            await ask(model)
        with trio.fail_after(5):
            await server.wait_connections(0)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.", OK, OK + b"X: ", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.", SSE, SSE + b"5"],
)
async def test_slow_bytes_end_with_the_callers_scope(head: bytes) -> None:
    """One byte now and then, forever: no timeout of ours applies, the caller's scope does, and everything is closed."""
    drip = Wire(Endless(head, b"x"), pace=0.005, then="hang")
    async with serving([drip]) as server, model_before(server, retry=ONCE) as model:
        with trio.move_on_after(0.15) as scope:
            await ask(model)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await server.wait_connections(0)


async def test_counts_that_no_journal_could_hold_are_no_counts() -> None:
    for usage in (10**400, 2**63, 10**10):
        counts = {"prompt_tokens": usage, "completion_tokens": 1}
        body = json.dumps({"choices": [{"message": {"content": "hi"}}], "usage": counts}).encode()
        answer = Wire((JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body,))
        async with serving([answer]) as server, model_before(server, retry=ONCE) as model:
            end = (await ask(model)).end
        assert end is not None and end.usage.estimated and end.usage.total_tokens < 100


async def test_an_answer_behind_an_answer_is_never_taken_for_the_next() -> None:
    """A server that sends two responses to one request does not get to answer the request that comes after."""
    smuggled = Say("smuggled").wire(stream=True)
    first = Say("first", chunk=1000).wire(stream=True)
    double = Wire((b"".join([*first.pieces, *smuggled.pieces]),))
    async with serving([double, "second"]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "first"
        assert (await ask(model)).text == "second"
        assert server.connections_made == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_credentials_never_follow_a_redirect(status: int) -> None:
    async with serving(["stolen", "stolen"]) as thief:
        for location in (thief.base_url + "/chat/completions", "//" + thief.base_url.partition("//")[2]):
            head = f"HTTP/1.1 {status} Over there\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            async with serving([Wire((head.encode(),))]) as server:
                async with model_before(server, retry=ONCE, api_key="sk-secret-123") as model:
                    with pytest.raises(ModelStatusError, match="redirects are not followed"):
                        await ask(model)
        assert thief.connections_made == 0


def test_a_gigabyte_does_not_grow_the_host() -> None:
    """In a process of its own, so that its peak says something."""
    command = [sys.executable, "-m", "tests.models.swallow_gigabytes"]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    growth = json.loads(run.stdout)
    assert growth.keys() == {"one body", "one line", "events", "small chunks", "an error's body"}
    assert max(growth.values()) < 48 * 2**20, growth
