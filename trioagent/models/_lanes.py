"""HTTP/1.1 over Trio streams: a free list of connections ("lanes"), each carrying one request at a time.

It stands behind httpx's transport interface, so that any other httpx transport (a proxy, HTTP/2) can take its place.
httpx's own pool looks at every connection for every request, which makes a thousand requests in flight quadratic; here
a request costs the same however many others there are (figures: ``python -m benchmarks.lanes``).
"""

from __future__ import annotations

import functools
import math
import ssl
from collections import deque

import h11
import httpx
import trio

_READ_BYTES = 64 * 1024
_HEAD_BYTES = 64 * 1024
_IDLE_SECONDS = 30.0
_MOST_INTERIM = 100
_MOST_PIECES = 250_000  # each costs some 15 us, however small; a stream spends one on a token

_Origin = tuple[str, str, int]


@functools.cache
def shared_ssl_context() -> ssl.SSLContext:
    """One context for all connections, made on first use: making one costs more than 10 ms."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Lanes(httpx.AsyncBaseTransport):
    """An httpx transport whose idle connections form a stack: the warm ones are used, the others idle out.

    A request cancelled anywhere closes its connection at once. A connection that the server closed while it was idle is
    replaced without notice. Redirects, cookies and the environment play no part.

    Args:
        connect_seconds: how long to wait for a connection, TLS included.
        ssl_context: whom to trust; the public authorities if not given.
        idle_seconds: how long a connection may lie idle.
        max_idle: how many to one server may lie idle; the oldest ones beyond that are closed.
    """

    def __init__(
        self,
        *,
        connect_seconds: float,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = _IDLE_SECONDS,
        max_idle: float = math.inf,
    ) -> None:
        self._connect_seconds = connect_seconds
        self._ssl_context = ssl_context
        self._idle_seconds, self._max_idle = idle_seconds, max_idle
        self._idle: dict[_Origin, deque[_Lane]] = {}
        self._open: set[_Lane] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, and return its response as soon as the headers are there.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: no connection.
            httpx.ReadError: the connection broke before the headers were whole.
            httpx.RemoteProtocolError: what came is not HTTP.
            trio.ClosedResourceError: the lanes have been closed.
        """
        content = await request.aread()
        origin = _origin(request.url)
        lane = self._take_idle(origin)
        if lane is not None:
            try:
                return await self._exchange(lane, request, content)
            except httpx.ReadError:
                if lane.answered:
                    raise
            # The server closed the idle connection just as we took it: that was no attempt.
        return await self._exchange(await self._connect(origin), request, content)

    def close(self) -> None:
        """Close every connection, at once and without a checkpoint; requests at work get ``ClosedResourceError``."""
        self._closed = True
        for lane in list(self._open):
            self._drop(lane)
        self._idle.clear()

    async def aclose(self) -> None:
        self.close()

    @property
    def open_connections(self) -> int:
        """How many connections are open, idle ones included."""
        return len(self._open)

    def _take_idle(self, origin: _Origin) -> _Lane | None:
        idle = self._idle.get(origin)
        while idle:
            lane = idle.pop()
            if not lane.is_stale():
                return lane
            self._drop(lane)
        return None

    async def _connect(self, origin: _Origin) -> _Lane:
        if self._closed:
            raise trio.ClosedResourceError("the model has been closed")
        scheme, host, port = origin
        try:
            with trio.fail_after(self._connect_seconds):
                tcp = await trio.open_tcp_stream(host, port)
                stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = tcp
                if scheme == "https":
                    stream = await _secured(tcp, host, self._ssl_context or shared_ssl_context())
        except trio.TooSlowError:
            raise httpx.ConnectTimeout(f"no connection within {self._connect_seconds:g} s") from None
        except (OSError, trio.BrokenResourceError) as error:
            raise httpx.ConnectError(_words(error)) from error
        lane = _Lane(stream, tcp.socket, origin)
        self._open.add(lane)
        return lane

    async def _exchange(self, lane: _Lane, request: httpx.Request, content: bytes) -> httpx.Response:
        try:
            head = await lane.exchange(request, content)
        except BaseException:
            self._drop(lane)
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=_Body(self, lane))

    def give_back(self, lane: _Lane) -> None:
        """Put *lane* on the free list if its response has been read to the end, else close it."""
        if self._closed or not lane.start_next_cycle():
            self._drop(lane)
            return
        now = lane.idle_since = trio.current_time()
        idle = self._idle.setdefault(lane.origin, deque())
        idle.append(lane)
        while idle and (len(idle) > self._max_idle or idle[0].idle_since < now - self._idle_seconds):
            self._drop(idle.popleft())

    def _drop(self, lane: _Lane) -> None:
        self._open.discard(lane)
        lane.close()


class _Lane:
    """One connection, carrying one request at a time."""

    def __init__(
        self,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        socket: trio.socket.SocketType,
        origin: _Origin,
    ) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.answered = False  # did any byte of the response at hand come
        self._stream, self._socket = stream, socket
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._sent_whole = True
        self._pieces = 0  # of the response at hand

    async def exchange(self, request: httpx.Request, content: bytes) -> h11.Response:
        self.answered, self._pieces, interim = False, 0, 0
        try:
            await self._stream.send_all(self._written(request, content))
        except trio.BrokenResourceError:
            self._sent_whole = False  # a server may refuse a request, and hang up, before it has read it all
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                await self._receive()
            elif not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError(f"a response was expected, not {event!r}")
            elif (interim := interim + 1) > _MOST_INTERIM:
                raise httpx.RemoteProtocolError(f"more than {_MOST_INTERIM} interim responses")

    def _written(self, request: httpx.Request, content: bytes) -> bytes:
        """The request's bytes. Made apart, so that no traceback shows them: the headers hold the key."""
        head = h11.Request(
            method=request.method.encode("ascii"), target=request.url.raw_path, headers=request.headers.raw
        )
        parts = (
            self._http.send(head),
            self._http.send(h11.Data(data=content)) if content else b"",
            self._http.send(h11.EndOfMessage()),
        )
        return b"".join(part for part in parts if part)

    async def next_data(self) -> bytes | None:
        """All of the body that has come by now, waiting for some of it; None at its end. Raises as the lanes do."""
        parts: list[bytes] = []
        while self._http.their_state is h11.SEND_BODY:
            event = self._next_event()
            if isinstance(event, h11.Data):
                parts.append(event.data)
                self._pieces += 1
                if self._pieces > _MOST_PIECES:
                    raise httpx.RemoteProtocolError(f"a body in more than {_MOST_PIECES} pieces")
            elif event is h11.NEED_DATA:
                if parts:
                    break
                await self._receive()
        return b"".join(parts) if parts else None

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            if self._http.trailing_data[1]:
                raise httpx.ReadError("the connection was closed in the middle of the response") from None
            raise httpx.RemoteProtocolError(str(error)) from error

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except trio.BrokenResourceError as error:
            raise httpx.ReadError(_words(error)) from error
        if data:
            self.answered = True
        elif not self.answered:
            raise httpx.ReadError("the connection was closed before any response")
        self._http.receive_data(bytes(data))

    def start_next_cycle(self) -> bool:
        """Make ready for the next request; False if the response is not at its end, counting only what has arrived."""
        try:
            while self._http.their_state is h11.SEND_BODY:
                if self._http.next_event() is h11.NEED_DATA:
                    return False
            self._http.start_next_cycle()
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            return False
        # Bytes beyond the response answer nothing that we asked.
        return self._sent_whole and self._http.trailing_data == (b"", False)

    def is_stale(self) -> bool:
        """Whether there is something to read on this idle connection: as a rule, its end."""
        return self._socket.is_readable()

    def close(self) -> None:
        """Close the socket at once, without a checkpoint, so that no cancellation can come between.

        TLS is closed without its good-bye, as HTTP clients do: HTTP itself says where a message ends.
        """
        self._socket.close()


class _Body(httpx.AsyncByteStream):
    """The response's body; at its end, or when closed, the lane goes back."""

    def __init__(self, lanes: Lanes, lane: _Lane) -> None:
        self._lanes, self._lane = lanes, lane
        self._over = False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        data = await self._lane.next_data()
        if data is None:
            await self.aclose()
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._lanes.give_back(self._lane)


async def _secured(tcp: trio.SocketStream, host: str, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    try:
        stream = trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True)
        await stream.do_handshake()
    except BaseException:
        tcp.socket.close()
        raise
    return stream


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _words(error: BaseException) -> str:
    """What the operating system or TLS said, which Trio keeps as the cause."""
    return str(error.__cause__ or error) or type(error).__name__
