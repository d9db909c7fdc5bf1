"""Connection pool: HTTP/1.1 over Trio streams, one request at a time on each connection.

httpx's own pool scans every connection for every request, which is quadratic in the requests in flight; here a request
costs the same however many others there are (figures: ``python -m benchmarks.model_requests``).
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Mapping
from functools import partial

import trio

from .._descriptors import Hold, descriptor_budget
from .._errors import ModelConnectionError
from ._http1 import ResponseReader
from ._proxy import Proxy, connect_through
from ._streams import PlainStream, Stream, connect, describe_error, shared_ssl_context
from ._transport import Endpoint, Response

_READ_BYTES = 64 * 1024
_IDLE_SECONDS = 30.0

_Origin = tuple[str, str, int]


class ConnectionPool:
    """A transport that keeps idle connections in a LIFO stack, so that surplus ones reach their idle timeout.

    A cancelled request closes its connection at once. A connection that the server closed while it was idle is replaced
    without counting as a failed attempt. A new connection waits for a descriptor (`DescriptorBudget`); when they
    are short, idle connections are closed. Redirects, cookies and environment variables are ignored.

    Args:
        connect_seconds: connect timeout, TLS handshake included.
        ssl_context: trusted certificates; the public certificate authorities if not given.
        idle_seconds: idle timeout of a connection.
        max_idle: idle connections kept for one server; the oldest ones beyond that are closed.
        proxy: the HTTP proxy that all connections go through.
    """

    def __init__(
        self,
        *,
        connect_seconds: float,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = _IDLE_SECONDS,
        max_idle: float = math.inf,
        proxy: Proxy | None = None,
    ) -> None:
        self._connect_seconds = connect_seconds
        self._ssl_context, self._proxy = ssl_context, proxy
        self._through_proxy = "" if proxy is None else f"through the proxy {proxy.host}:{proxy.port}: "
        self._idle_seconds, self._max_idle = idle_seconds, max_idle
        self._idle: dict[_Origin, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    async def post(self, endpoint: Endpoint, body: bytes) -> Response:
        """See `Transport.post`; `trio.ClosedResourceError` if the pool has been closed."""
        now = trio.current_time()
        with trio.move_on_at(now + endpoint.silence_seconds) as clock:
            connection = self._pop_idle(endpoint.origin, now)
            if connection is not None:
                try:
                    return await self._exchange(connection, endpoint, body)
                except ModelConnectionError:
                    if connection.answered:
                        raise
                # The server closed the idle connection while we were sending: retry on a new one, see
                # test_a_connection_that_closes_as_the_request_arrives_costs_no_attempt.
            clock.deadline = math.inf  # the wait for a descriptor does not count towards the read timeout
            connection = await self._new(endpoint)
            clock.deadline = trio.current_time() + endpoint.silence_seconds
            return await self._exchange(connection, endpoint, body)
        raise endpoint.silence_error()

    def close(self) -> None:
        """Close every connection at once, without a checkpoint; requests in flight raise `trio.ClosedResourceError`."""
        self._closed = True
        self._idle.clear()  # first, so that none of them is given to a task that waits for a descriptor
        for connection in list(self._open):
            self._drop(connection)

    async def aclose(self) -> None:
        self.close()

    def _pop_idle(self, origin: _Origin, now: float) -> _Connection | None:
        self._close_expired(now)
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.socket.has_pending_data:
                connection.hold.idle = False
                return connection
            self._drop(connection)
        return None

    def close_one_idle(self) -> bool:
        """Close the idle connection that was used least recently; False if there is none."""
        waiting = [idle for idle in self._idle.values() if idle]
        if waiting:
            self._drop(min(waiting, key=lambda idle: idle[0].idle_since).popleft())
        return bool(waiting)

    async def _new(self, endpoint: Endpoint) -> _Connection:
        """A new connection, or one that became idle during the wait for a descriptor."""
        if self._closed:
            raise trio.ClosedResourceError("the model has been closed")
        budget = descriptor_budget()
        budget.keep_idle.add(self)
        found = await budget.take_or(1, lambda: self._pop_idle(endpoint.origin, trio.current_time()))
        if isinstance(found, _Connection):
            return found
        try:
            return await found.open_when_possible(partial(self._connect, endpoint, found))
        except BaseException:
            found.release()
            raise

    async def _connect(self, endpoint: Endpoint, hold: Hold) -> _Connection:
        if self._closed:
            raise trio.ClosedResourceError("the model has been closed")
        scheme, host, port = endpoint.origin
        context = (self._ssl_context or shared_ssl_context()) if scheme == "https" else None
        try:
            with trio.fail_after(self._connect_seconds):
                connection = _Connection(hold, endpoint.origin, *await self._open_streams(host, port, context))
        except trio.TooSlowError:
            problem = f"no connection within {self._connect_seconds:g} s"
            raise endpoint.connection_error(self._through_proxy + problem) from None
        except (OSError, trio.BrokenResourceError) as error:
            raise endpoint.error_for(error, self._through_proxy + describe_error(error)) from error
        self._open.add(connection)
        return connection

    async def _open_streams(self, host: str, port: int, context: ssl.SSLContext | None) -> tuple[PlainStream, Stream]:
        if self._proxy is None:
            return await connect(host, port, context)
        to_proxy = (self._ssl_context or shared_ssl_context()) if self._proxy.secure else None
        return await connect_through(self._proxy, host, port, context, to_proxy)

    async def _exchange(self, connection: _Connection, endpoint: Endpoint, body: bytes) -> Response:
        try:
            reader = ResponseReader()
            start = await connection.exchange(endpoint, body, reader)
        except BaseException:
            self._drop(connection)
            raise
        return _PooledResponse(self, connection, endpoint, reader, start)

    def release(self, connection: _Connection, *, reusable: bool) -> None:
        """Keep *connection* for later requests if it is reusable, else close it."""
        if self._closed or not (reusable and connection.sent_whole):
            self._drop(connection)
            return
        now = connection.idle_since = trio.current_time()
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = deque()
        idle.append(connection)
        connection.hold.idle = True
        while len(idle) > self._max_idle:
            self._drop(idle.popleft())
        self._close_expired(now)

    def _close_expired(self, now: float) -> None:
        """Close connections at their idle timeout: routers forget idle connections, and a request would hang."""
        oldest = now - self._idle_seconds
        for idle in self._idle.values():
            while idle and idle[0].idle_since < oldest:
                self._drop(idle.popleft())

    def _drop(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.socket.close()
        connection.hold.release()


class _Connection:
    """One connection, carrying one request at a time."""

    __slots__ = ("_stream", "answered", "hold", "idle_since", "origin", "sent_whole", "socket")

    def __init__(self, hold: Hold, origin: _Origin, socket: PlainStream, stream: Stream) -> None:
        self.hold = hold
        self.origin, self.socket, self._stream = origin, socket, stream
        self.idle_since = 0.0
        self.answered = False  # whether any byte of the current response has arrived
        self.sent_whole = True

    async def exchange(self, endpoint: Endpoint, body: bytes, reader: ResponseReader) -> bytes:
        """Send a request and read the response's head; returns the part of the body that came with it."""
        self.answered = False
        try:
            # Built inside the call, so that no traceback shows it: the head contains the API key.
            await self._stream.send_all(endpoint.request(body))
        except trio.BrokenResourceError:
            self.sent_whole = False  # a server may refuse a request, and hang up, before it has read all of it
        start = b""
        while not reader.status:
            start = await self.receive(endpoint, reader)
        return start

    async def receive(self, endpoint: Endpoint, reader: ResponseReader) -> bytes:
        """Read once; returns the part of the body in the bytes read, which may be empty."""
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except trio.BrokenResourceError as error:
            raise endpoint.connection_error(describe_error(error)) from error
        if data:
            self.answered = True
            return reader.feed(bytes(data))
        if not reader.close():
            when = "in the middle of the response" if self.answered else "before any response"
            raise endpoint.connection_error(f"the connection was closed {when}")
        return b""


class _PooledResponse:
    """A response that returns its connection to the pool at its end or when closed."""

    __slots__ = ("_connection", "_endpoint", "_pool", "_reader", "_start")

    def __init__(
        self, pool: ConnectionPool, connection: _Connection, endpoint: Endpoint, reader: ResponseReader, start: bytes
    ) -> None:
        self._pool, self._endpoint, self._reader, self._start = pool, endpoint, reader, start
        self._connection: _Connection | None = connection
        if reader.over:
            self._finish()

    @property
    def status(self) -> int:
        return self._reader.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._reader.headers

    @property
    def over(self) -> bool:
        return self._connection is None and not self._start

    async def read(self) -> bytes:
        body, self._start = self._start, b""
        if not body and self._connection is not None:
            with trio.move_on_after(self._endpoint.silence_seconds) as waiting:
                while not body and not self._reader.over:
                    body = await self._connection.receive(self._endpoint, self._reader)
            if waiting.cancelled_caught:
                raise self._endpoint.silence_error()
            if self._reader.over:
                self._finish()
        return body

    async def aclose(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.release(connection, reusable=self._reader.over and self._reader.reusable)
