"""A small WebSocket client on Trio, over wsproto; it never answers what it is not asked to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

Json = dict[str, Any]


class WebSocketRefused(Exception):
    """The server answered with an HTTP status instead."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class WebSocketClosed(Exception):
    """The server has closed the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WebSocketClient:
    """A connection of a client; made by `open_websocket`.

    Attributes:
        stream: the socket.
        last_number: of the last event that was received.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.last_number = 0
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._text = ""
        self._events: list[Event] = []

    async def handshake(self, host: str, target: str, headers: Mapping[str, str]) -> None:
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send_event(Request(host=host, target=target, extra_headers=extra))
        event = await self._next()
        if isinstance(event, RejectConnection):
            body = b""
            while isinstance(data := await self._next(), RejectData):
                body += data.data
                if data.body_finished:
                    break
            raise WebSocketRefused(event.status_code, body)
        assert isinstance(event, AcceptConnection), event

    async def send(self, **message: Any) -> None:
        """Send a JSON object."""
        await self.send_event(TextMessage(json.dumps(message)))

    async def send_event(self, event: Event) -> None:
        await self.stream.send_all(self._protocol.send(event))

    async def receive(self) -> Json:
        """The next message.

        Raises:
            WebSocketClosed: there is none any more.
        """
        while True:
            match await self._next():
                case TextMessage(data=text, message_finished=finished):
                    self._text += text
                    if finished:
                        message: Json = json.loads(self._text)
                        self._text = ""
                        self.last_number = message.get("n", self.last_number)
                        return message
                case CloseConnection(code=code):
                    raise WebSocketClosed(int(code))
                case Ping() as ping:
                    await self.send_event(ping.response())

    async def until(self, kind: str, **fields: Any) -> Json:
        """The next message of this type (of an ``event``, its event's type) that has these *fields*."""
        while True:
            message = await self.receive()
            found = message["event"]["type"] if message["type"] == "event" else message["type"]
            if found == kind and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def _next(self) -> Event:
        while not self._events:
            data = await self.stream.receive_some()
            if not data:
                raise WebSocketClosed(1006)
            self._protocol.receive_data(bytes(data))
            self._events = list(self._protocol.events())
        return self._events.pop(0)

    async def close(self) -> None:
        """Say goodbye."""
        try:
            await self.send_event(CloseConnection(1000))
        except (LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it was closed already


@asynccontextmanager
async def open_websocket(
    address: tuple[str, int], target: str, *, token: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[WebSocketClient]:
    """A WebSocket to *target*; closed when the block ends.

    Raises:
        WebSocketRefused: the server refused it.
    """
    host, port = address
    async with await trio.open_tcp_stream(host, port) as stream:
        client = WebSocketClient(stream)
        given = {"Authorization": f"Bearer {token}"} if token else {}
        await client.handshake(f"{host}:{port}", target, {**given, **(headers or {})})
        yield client
        with trio.move_on_after(1):
            await client.close()
