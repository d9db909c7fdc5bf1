"""hypercorn's HTTP/1.1 and WebSocket protocols over Trio streams, with limits that hypercorn does not have.

Only this module uses hypercorn. Its `TCPServer` is run for each connection, with these differences:

- Each step of a request has a timeout: the head, the pause between requests, a WebSocket message that has begun, a
  write that the client does not read. (Bodies are read, and bounded, by `_border`.)
- No per-message compression: it takes 100 KiB per WebSocket. No HTTP/2: no client here needs it.
- A request that arrives before the previous response is complete (pipelining) is held back, with up to 64 KiB of what
  follows it, and the connection is read meanwhile, to notice a disconnect. A client may send it as soon as it has the
  response's last byte, which is before the server has finished with the previous request.
- An error in one connection ends only that connection.
- A connection can be closed while a write to it hangs, which hypercorn shields.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from math import inf
from typing import Any, NoReturn

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, H11SendableEvent
from wsproto.events import TextMessage
from wsproto.utilities import ProtocolError

from .._exceptions import leaves, without_cancelled
from .._peers import is_own_peer
from ._config import ServerLimits
from ._request_error import RequestError, log

CONNECTION = "trioagent.connection"  # the key of the connection in the ASGI scope's state

_CHUNK = 64 * 1024
_UNUSED_HEADERS = (b"sec-websocket-extensions", b"sec-websocket-protocol")
_SEND_BUFFER = 128 * 1024
_LINGER_SECONDS = 2.0
_INBOX = 10  # a client's messages that are queued for the application
_QUIET_ERRORS = (OSError, h11.ProtocolError, ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError)
_STATUS_WORDS = {
    400: ("bad_request", "the request is not valid HTTP/1.1", "correct it"),
    431: ("head_too_large", "the request's head is too large", "send fewer or shorter headers"),
}
_BAD_HANDSHAKE = (
    "bad_handshake",
    "the request does not open a WebSocket",
    "send the headers of version 13 (RFC 6455), and frames once it is accepted",
)
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Connections:
    """All connections of the server.

    Args:
        app: the ASGI application.
        limits: the limits on connections.
    """

    def __init__(self, app: Any, limits: ServerLimits) -> None:
        self._app = ASGIWrapper(app)
        self.limits: ServerLimits = limits
        self._config = _hypercorn_config(limits)
        self._context = WorkerContext(None)
        self._unidentified: dict[Connection, None] = {}  # oldest first
        self._open: set[Connection] = set()
        self._closed = trio.lowlevel.ParkingLot()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._open)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side closes it."""
        if len(self._open) >= self.limits.connections or not _may_connect(stream.socket):
            await trio.aclose_forcefully(stream)
            return
        _set_options(stream)
        connection = Connection(self, stream, self._app, self._config, self._context)
        async with self._registered(connection):
            await connection.run()

    def identified(self, connection: Connection) -> None:
        """*connection* has sent the token."""
        self._unidentified.pop(connection, None)

    async def finish(self) -> None:
        """Close idle connections, and the others when their request ends; wait until all are closed."""
        await self._context.terminated.set()
        for connection in tuple(self._open):
            connection.close_if_idle()
        while self._open:
            await self._closed.park()

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in tuple(self._open):
            connection.abort()

    @asynccontextmanager
    async def _registered(self, connection: Connection) -> AsyncIterator[None]:
        self._open.add(connection)
        self._unidentified[connection] = None
        if len(self._unidentified) > self.limits.unidentified:
            oldest = next(iter(self._unidentified))
            self._unidentified.pop(oldest)
            oldest.abort()
        try:
            yield
        finally:
            self._open.discard(connection)
            self._unidentified.pop(connection, None)
            self._closed.unpark_all()


class Connection(TCPServer):
    """One connection, see the module."""

    def __init__(
        self,
        connections: Connections,
        stream: trio.SocketStream,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
    ) -> None:
        limits = connections.limits
        self.socket_stream: _BoundedStream = _BoundedStream(stream, limits.write_seconds)
        super().__init__(app, config, context, ConnectionState({}), self.socket_stream)  # type: ignore[arg-type]
        self._connections, self._limits = connections, limits
        self._idle, self._finishing = True, False
        self._discards = False  # further input of the client is discarded
        self._held: int | None = None  # bytes held back until the current request ends; None if there are none
        self._handling = trio.Lock()  # around the protocol's event handling
        self._deadline = trio.current_time() + limits.head_seconds
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()

    def identified(self) -> None:
        """The client has sent the token."""
        self._connections.identified(self)

    def abort(self) -> None:
        """Close the connection and cancel all its work at once."""
        self._scope.cancel()
        self.socket_stream.abort()

    async def send_texts(self, texts: Sequence[bytes]) -> None:
        """Send WebSocket messages in one write; nothing if the WebSocket is closed.

        Sent one by one through ASGI, each would take 0.1 ms of CPU time.
        """
        stream = self.protocol.stream  # type: ignore[attr-defined]
        if not isinstance(stream, WSStream) or stream.closed or stream.state is not ASGIWebsocketState.CONNECTED:
            await trio.lowlevel.checkpoint()
            return
        with suppress(ProtocolError):  # it is closing
            frames = [stream.connection.send(TextMessage(data=text.decode())) for text in texts]
            await self.protocol_send(RawData(b"".join(frames)))

    def close_if_idle(self) -> None:
        self._finishing = True
        if self._idle:
            self._set_deadline(-inf)

    async def run(self) -> None:
        try:
            with self._scope:
                await self._run()
        except Exception as error:  # noqa: BLE001 - one connection's failure is no other's
            if without_cancelled(error) is not None:
                quiet = all(isinstance(leaf, _QUIET_ERRORS) for leaf in leaves(error))
                log.log(logging.DEBUG if quiet else logging.ERROR, "a connection failed", exc_info=error)
        finally:
            self.socket_stream.abort()
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _run(self) -> None:
        peer = self.stream.socket.getpeername() if self.stream.socket.family != socket.AF_UNIX else None
        own = self.stream.socket.getsockname() if peer is not None else None
        async with trio.open_nursery() as nursery:
            state = ConnectionState({CONNECTION: self})
            tasks = _Applications(nursery)
            self.protocol: ProtocolWrapper = _Protocol(  # type: ignore[assignment]
                lambda: nursery.start_soon(self.handle_held),
                self.app,
                self.config,
                self.context,
                tasks,
                state,
                False,
                peer[:2] if peer else None,
                own[:2] if own else None,
                self.protocol_send,
            )
            await self._read_data()
            await self.protocol.handle(Closed())
            tasks.client_left()

    async def _read_data(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._reading:
                try:
                    data = bytes(await self.stream.receive_some(_CHUNK))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            if self._reading.cancelled_caught or not data:
                return
            if self._discards:
                continue
            if self._held is not None:
                self._hold(data)
                continue
            if self._idle and self._deadline > (limit := trio.current_time() + self._limits.head_seconds):
                self._deadline = limit
            async with self._handling:
                try:
                    await self.protocol.handle(RawData(data))
                except _PipelinedError:
                    self._held = len(data)
            if not self._idle and not self._discards:
                self._bound_message()

    def _hold(self, data: bytes) -> None:
        """Keep input that follows a held request."""
        assert self._held is not None
        self._held += len(data)
        if self._held > _CHUNK:
            self._discards = True
        else:
            self.protocol.connection.receive_data(data)  # type: ignore[attr-defined]

    async def handle_held(self) -> None:
        """Process the held request, if there is one, now that the previous one has ended."""
        if self._held is None or self._discards:
            return
        async with self._handling:
            held, self._held = self._held, None
            try:
                await self.protocol._handle_events()  # type: ignore[attr-defined]
            except _PipelinedError:
                self._held = held

    def _bound_message(self) -> None:
        """Set the deadline for the rest of a WebSocket message that has begun."""
        stream = self.protocol.stream  # type: ignore[attr-defined]
        if not isinstance(stream, WSStream) or stream.buffer.value is None:
            self._deadline = inf
        elif self._deadline == inf:
            self._deadline = trio.current_time() + self._limits.body_seconds

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = self._reading.deadline = deadline

    async def protocol_send(self, event: Event) -> None:
        match event:
            case RawData(data=data):
                async with self.send_lock:
                    try:
                        with trio.CancelScope(shield=True):  # a partial frame would make all that follows unreadable
                            await self.stream.send_all(data)
                        return
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        self.socket_stream.abort()
                await self.protocol.handle(Closed())
            case Closed():  # let the client read what was sent: closing while it sends would reset the connection
                self._discards = True
                self.socket_stream.shut_down()
                self._set_deadline(trio.current_time() + _LINGER_SECONDS)
                await self.protocol.handle(Closed())
            case Updated(idle=idle):
                self._idle = idle
                ended = idle and (self._finishing or self._discards)
                wait = self._limits.idle_seconds if idle else inf
                self._set_deadline(-inf if ended else trio.current_time() + wait)


class _BoundedStream(trio.abc.HalfCloseableStream):
    """A socket whose writes have a timeout."""

    def __init__(self, stream: trio.SocketStream, write_seconds: float) -> None:
        self._stream, self._write_seconds = stream, write_seconds
        self.socket: trio.socket.SocketType = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            with trio.move_on_after(self._write_seconds) as scope:
                await self._stream.send_all(view[start : start + _CHUNK])
            if scope.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError("the client does not read")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def shut_down(self) -> None:
        """Nothing more is sent; a task that is sending gets a `trio.BrokenResourceError`."""
        with suppress(OSError):  # already closed
            self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Close at once; a task that waits for the socket gets a `trio.ClosedResourceError`."""
        self.socket.close()


class _PipelinedError(Exception):
    """The client sends its next request before the current response is complete."""


class _NextRequest:
    """Replaces the event that hypercorn waits for while it holds the client's next request.

    hypercorn reads nothing while it waits, and so would not notice a disconnect.

    Args:
        go_on: called when the current request has ended.
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self._go_on = go_on

    async def clear(self) -> None:
        pass

    async def set(self) -> None:
        self._go_on()

    async def wait(self) -> NoReturn:
        raise _PipelinedError

    def is_set(self) -> bool:
        return False


class _Protocol(H11Protocol):
    def __init__(self, go_on: Callable[[], None], *args: Any) -> None:
        super().__init__(*args)
        self.can_read = _NextRequest(go_on)

    async def _check_protocol(self, event: h11.Request) -> None:
        """No change to HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        if _head_bytes(request) > self.config.h11_max_incomplete_size:  # h11 bounds only incomplete heads
            await self._send_error_response(431)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name not in _UNUSED_HEADERS]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )

    async def stream_send(self, event: StreamEvent) -> None:
        """As in hypercorn, except for an invalid handshake: there hypercorn sends nothing and keeps the connection."""
        if (
            isinstance(event, Response)
            and event.status_code == 400
            and isinstance(self.stream, WSStream)
            and not self.stream.handshake.accepted
            and (b"content-length", b"0") in event.headers
        ):
            await self._send_error_response(400, _BAD_HANDSHAKE)
            await self.send(Closed())
            return
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:  # no response can be sent to this client any more
            await self.send(Closed())

    async def _send_error_response(self, status_code: int, words: tuple[str, str, str] | None = None) -> None:
        kind, problem, advice = words or _STATUS_WORDS.get(status_code, _STATUS_WORDS[400])
        body = RequestError(status_code, kind, problem, advice).json()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        head = h11.Response(status_code=status_code, headers=list(chain(headers, self.config.response_headers("h11"))))
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await self._send_h11_event(event)


def _head_bytes(request: h11.Request) -> int:
    lines = sum(len(name) + len(value) + len(b": \r\n") for name, value in request.headers)
    return len(request.method) + len(request.target) + len(b"  HTTP/1.1\r\n") + lines


class _Inbox:
    """The messages from a client to the application: a bounded queue, then the disconnect."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._messages: deque[Any] = deque()
        self._closed = self._left = False
        self._room, self._news = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()

    async def put(self, message: Any) -> None:
        while len(self._messages) >= _INBOX and not self._closed and not message["type"].endswith(".disconnect"):
            await self._room.park()
        self._left = self._left or message["type"].endswith(".disconnect")
        if not self._closed:
            self._messages.append(message)
            self._news.unpark()

    def client_left(self) -> None:
        """Add the disconnect, if it has not been added."""
        if not self._left and not self._closed:
            self._left = True
            self._messages.append({"type": f"{self._kind}.disconnect", "code": 1006})
            self._news.unpark()

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            await self._news.park()
        self._room.unpark()
        return self._messages.popleft()

    def close(self) -> None:
        """Nothing will be received any more."""
        self._closed = True
        self._room.unpark_all()


class _Applications:
    """Runs the application for a connection's requests (hypercorn's `TaskGroup`)."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._inboxes: set[_Inbox] = set()

    def client_left(self) -> None:
        """Notify all running applications. hypercorn does not notify some of those of refused handshakes."""
        for inbox in self._inboxes:
            inbox.client_left()

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        inbox = _Inbox(scope["type"])
        self._inboxes.add(inbox)
        self._nursery.start_soon(self._run, app, scope, inbox, send)
        return inbox.put

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._nursery.start_soon(func, *args)

    async def __aenter__(self) -> _Applications:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def _run(self, app: Any, scope: Any, inbox: _Inbox, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await app(scope, inbox.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        finally:
            inbox.close()
            self._inboxes.discard(inbox)
        await send(None)


def _may_connect(connected: trio.socket.SocketType) -> bool:
    """Unix sockets need no token: the peer must be this user, or root."""
    return connected.family != socket.AF_UNIX or is_own_peer(connected)


def _set_options(stream: trio.SocketStream) -> None:
    # Without it the kernel's buffer for a client that does not read would grow to 4 MB.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if stream.socket.family == socket.AF_UNIX:
        return
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:  # the kernel detects clients that vanished without closing
        stream.setsockopt(socket.IPPROTO_TCP, option, value)


def _hypercorn_config(limits: ServerLimits) -> Config:
    config = Config()
    config.errorlog, config.accesslog = log, None
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.header_bytes
    config.websocket_max_message_size = limits.message_bytes
    return config
