"""HTTP/1.1 over Trio streams: a free list of connections ("lanes"), each carrying one request at a time.

httpx's own pool looks at every connection for every request, which makes a thousand requests in flight quadratic; here
a request costs the same however many others there are (figures: ``python -m benchmarks.model_requests``).
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Mapping

import trio

from .._errors import ModelConnectionError
from ._http1 import ResponseReader
from ._streams import PlainStream, Stream, connect, shared_ssl_context, words_of
from ._transport import Endpoint, Reply

_READ_BYTES = 64 * 1024
_IDLE_SECONDS = 30.0

_Origin = tuple[str, str, int]


class Lanes:
    """A transport whose idle connections form a stack: the warm ones are used, the others idle out.

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

    async def post(self, endpoint: Endpoint, body: bytes) -> Reply:
        """See `Transport.post`; `trio.ClosedResourceError` if the lanes have been closed."""
        with trio.move_on_after(endpoint.silence_seconds):
            lane = self._take_idle(endpoint.origin)
            if lane is not None:
                try:
                    return await self._exchange(lane, endpoint, body)
                except ModelConnectionError:
                    if lane.answered:
                        raise
                # The server closed the idle connection just as we took it: that was no attempt.
            return await self._exchange(await self._connect(endpoint), endpoint, body)
        raise endpoint.silent()

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
            if not lane.socket.has_news:
                return lane
            self._drop(lane)
        return None

    async def _connect(self, endpoint: Endpoint) -> _Lane:
        if self._closed:
            raise trio.ClosedResourceError("the model has been closed")
        scheme, host, port = endpoint.origin
        context = (self._ssl_context or shared_ssl_context()) if scheme == "https" else None
        try:
            with trio.fail_after(self._connect_seconds):
                lane = _Lane(endpoint.origin, *await connect(host, port, context))
        except trio.TooSlowError:
            raise endpoint.broken(f"no connection within {self._connect_seconds:g} s") from None
        except (OSError, trio.BrokenResourceError) as error:
            raise endpoint.broken(words_of(error)) from error
        self._open.add(lane)
        return lane

    async def _exchange(self, lane: _Lane, endpoint: Endpoint, body: bytes) -> Reply:
        try:
            reader = ResponseReader()
            start = await lane.exchange(endpoint, body, reader)
        except BaseException:
            self._drop(lane)
            raise
        return _LaneReply(self, lane, endpoint, reader, start)

    def give_back(self, lane: _Lane, *, reusable: bool) -> None:
        """Put *lane* on the free list if it can carry another request, else close it."""
        if self._closed or not (reusable and lane.sent_whole):
            self._drop(lane)
            return
        now = lane.idle_since = trio.current_time()
        idle = self._idle.setdefault(lane.origin, deque())
        idle.append(lane)
        while len(idle) > self._max_idle or idle[0].idle_since < now - self._idle_seconds:
            self._drop(idle.popleft())
            if not idle:
                break

    def _drop(self, lane: _Lane) -> None:
        self._open.discard(lane)
        lane.socket.close()


class _Lane:
    """One connection, carrying one request at a time."""

    __slots__ = ("_stream", "answered", "idle_since", "origin", "sent_whole", "socket")

    def __init__(self, origin: _Origin, socket: PlainStream, stream: Stream) -> None:
        self.origin, self.socket, self._stream = origin, socket, stream
        self.idle_since = 0.0
        self.answered = False  # did any byte of the response at hand come
        self.sent_whole = True

    async def exchange(self, endpoint: Endpoint, body: bytes, reader: ResponseReader) -> bytes:
        """Send a request and read up to the response's head; gives what came of the body with it."""
        self.answered = False
        try:
            # Made in the call, so that no traceback shows it: the head holds the key.
            await self._stream.send_all(endpoint.request(body))
        except trio.BrokenResourceError:
            self.sent_whole = False  # a server may refuse a request, and hang up, before it has read it all
        start = b""
        while not reader.status:
            start = await self.receive(endpoint, reader)
        return start

    async def receive(self, endpoint: Endpoint, reader: ResponseReader) -> bytes:
        """What the next bytes add to the body, if anything."""
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except trio.BrokenResourceError as error:
            raise endpoint.broken(words_of(error)) from error
        if data:
            self.answered = True
            return reader.feed(bytes(data))
        if not reader.close():
            when = "in the middle of the response" if self.answered else "before any response"
            raise endpoint.broken(f"the connection was closed {when}")
        return b""


class _LaneReply:
    """A response; at its end, or when closed, the lane goes back."""

    __slots__ = ("_endpoint", "_lane", "_lanes", "_reader", "_start")

    def __init__(self, lanes: Lanes, lane: _Lane, endpoint: Endpoint, reader: ResponseReader, start: bytes) -> None:
        self._lanes, self._endpoint, self._reader, self._start = lanes, endpoint, reader, start
        self._lane: _Lane | None = lane
        if reader.over:
            self._release()

    @property
    def status(self) -> int:
        return self._reader.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._reader.headers

    @property
    def over(self) -> bool:
        return self._lane is None and not self._start

    async def read(self) -> bytes:
        body, self._start = self._start, b""
        if not body and self._lane is not None:
            with trio.move_on_after(self._endpoint.silence_seconds) as waiting:
                while not body and not self._reader.over:
                    body = await self._lane.receive(self._endpoint, self._reader)
            if waiting.cancelled_caught:
                raise self._endpoint.silent()
            if self._reader.over:
                self._release()
        return body

    async def aclose(self) -> None:
        self._release()

    def _release(self) -> None:
        if self._lane is not None:
            lane, self._lane = self._lane, None
            self._lanes.give_back(lane, reusable=self._reader.over and self._reader.reusable)
