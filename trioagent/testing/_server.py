"""A real model server on the loopback interface: HTTP/1.1 with keep-alive, scripted answers, faults on demand."""

from __future__ import annotations

import inspect
import json
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import trio
from trio_util import AsyncValue

from ._script import Fault, Say, Wire

Answer = str | Say | Wire
Handler = Callable[["ModelRequest"], Answer | Awaitable[Answer]]

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
CONNECTION_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
# Quotes inside JSON strings are escaped, so this can only match a member of the request.
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_NO_LINGER = struct.pack("ii", 1, 0)


class ModelRequest:
    """One received request.

    Attributes:
        head: the request line and headers as received.
        content: the body as received.
        pieces_sent: how many pieces of the answer were sent (see :class:`Wire`) before it ended or the client
            disconnected.
    """

    __slots__ = ("content", "head", "pieces_sent")

    def __init__(self, head: bytes, content: bytes) -> None:
        self.head: bytes = head
        self.content: bytes = content
        self.pieces_sent: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def target(self) -> str:
        """The requested path and query."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the body."""
        loaded = json.loads(self.content)
        assert isinstance(loaded, dict), f"the request's body is not an object: {self.content[:200]!r}"
        return loaded

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the request."""
        messages = self.body["messages"]
        assert isinstance(messages, list)
        return messages

    @property
    def stream(self) -> bool:
        """Whether an event stream was requested."""
        return _STREAM.search(self.content) is not None


class ModelServer:
    """A running server; see :func:`serve_model`.

    Attributes:
        base_url: for ``ModelConfig``.
        requests: those received so far (empty if the server does not record).
        served: how many requests were received.
        connections_made: how many connections were opened, including closed ones.
        handler_error: the first error of the handler, which also ends the server.
    """

    def __init__(self, script: Iterable[Answer] | Handler, *, record: bool) -> None:
        self.base_url = ""
        self.requests: list[ModelRequest] = []
        self.served: int = 0
        self.connections_made: int = 0
        self.handler_error: Exception | None = None
        self._record = record
        self._connections: AsyncValue[int] = AsyncValue(0)
        self._next = script if callable(script) else _from_script(iter(script))

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        number: int = self._connections.value
        return number

    async def wait_connections(self, number: int) -> None:
        """Wait until exactly *number* connections are open."""
        await self._connections.wait_value(number)

    async def _serve_connection(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        """Answer the requests of one connection until either side closes it."""
        self.connections_made += 1
        self._connections.value += 1
        try:
            connection = _ServerConnection(stream)
            while (request := await connection.receive_request()) is not None:
                self.served += 1
                if self._record:
                    self.requests.append(request)
                if not await connection.answer(request, await self._answer_to(request)):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client disconnected in the middle
        finally:
            self._connections.value -= 1

    async def _answer_to(self, request: ModelRequest) -> Wire:
        if not request.head.startswith(b"POST ") or not request.target.partition("?")[0].endswith("/chat/completions"):
            return Fault.status(404, "only POST …/chat/completions is served")
        try:
            answer = self._next(request)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:
            if self.handler_error is None:  # kept: a cancellation right after it may replace it
                self.handler_error = error
            raise
        if isinstance(answer, str):
            answer = Say(answer)
        return answer if isinstance(answer, Wire) else answer.wire(stream=request.stream)


class _ServerConnection:
    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._buffer = b""

    async def receive_request(self) -> ModelRequest | None:
        """The next request, or None when the client has closed the connection."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not await self._receive():
                return None
        head, rest = self._buffer[: end + 2], self._buffer[end + 4 :]
        length = _CONTENT_LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            parts, missing = [rest], size - len(rest)
            while missing > 0:
                self._buffer = b""
                if not await self._receive():
                    return None
                parts.append(self._buffer)
                missing -= len(self._buffer)
            rest = b"".join(parts)
        self._buffer = rest[size:]
        return ModelRequest(head, rest[:size])

    async def answer(self, request: ModelRequest, wire: Wire) -> bool:
        """Send *wire*; False if the connection must not be reused."""
        pause = wire.delay
        for piece in wire.pieces:
            if pause and not await self._pause(pause):
                return False
            await self._stream.send_all(piece)
            request.pieces_sent += 1
            pause = wire.pace
        if wire.then == "hang":
            await self._pause(float("inf"))
        elif wire.then == "reset":
            self._reset()
        return wire.then == "keep" and CONNECTION_CLOSE.search(request.head) is None

    async def _receive(self) -> bool:
        data = await self._stream.receive_some(65536)
        self._buffer += data
        return bool(data)

    async def _pause(self, seconds: float) -> bool:
        """Wait; returns False at once if the client disconnects."""
        with trio.move_on_after(seconds):
            while await self._receive():
                pass
            return False
        return True

    def _reset(self) -> None:
        tcp = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        tcp.socket.close()


def _from_script(script: Iterator[Answer]) -> Handler:
    def next_answer(request: ModelRequest) -> Answer:
        return next(script, None) or Fault.status(400, "the script has no answer left")

    return next_answer


async def serve_model(
    script: Iterable[Answer] | Handler,
    *,
    port: int = 0,
    record: bool = True,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[ModelServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an OpenAI-compatible model on 127.0.0.1 until cancelled; start it with ``nursery.start``.

    ::

        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_model, ["Hello.", Fault.status(429, retry_after=2), Say("Hi.", chunk=1)])
            async with open_model(ModelConfig(base_url=server.base_url, model="any")) as model:
                ...
            nursery.cancel_scope.cancel()

    Args:
        script: the answers in order of the requests (``itertools.repeat`` and ``cycle`` work), or a function,
            sync or async, from the request to its answer. An answer is a text, a :class:`Say`, or a :class:`Fault`.
            An exhausted script answers with status 400, which is not retried.
        port: where to listen; 0 for any free one.
        record: keep all requests in ``ModelServer.requests`` (not useful for a benchmark).
        ssl_context: serve TLS.
    """
    server = ModelServer(script, record=record)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    scheme = "http" if ssl_context is None else "https"
    server.base_url = f"{scheme}://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
    async with trio.open_nursery() as nursery:
        if ssl_context is None:
            await nursery.start(trio.serve_listeners, server._serve_connection, listeners)
        else:
            secured = [trio.SSLListener(listener, ssl_context, https_compatible=True) for listener in listeners]
            await nursery.start(trio.serve_listeners, server._serve_connection, secured)
        task_status.started(server)
