"""An HTTP proxy on the loopback interface, which notes what it is asked for."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import trio


@attrs.define
class Proxy:
    """Tunnels for CONNECT, and forwards the connections of all other requests.

    Attributes:
        credentials: "user:password" that every connection must begin with, or "".
        asked: method and target of the first request of each connection.
        heads: the whole heads of those.
    """

    credentials: str = ""
    ssl_context: ssl.SSLContext | None = None
    url: str = ""
    asked: list[bytes] = attrs.field(factory=list)
    heads: list[bytes] = attrs.field(factory=list)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            if self.ssl_context is None:
                listeners = await nursery.start(trio.serve_tcp, self._handle, 0)
                socket = listeners[0].socket
            else:
                listeners = await nursery.start(trio.serve_ssl_over_tcp, self._handle, 0, self.ssl_context)
                socket = listeners[0].transport_listener.socket
            self.url = f"http{'s' * (self.ssl_context is not None)}://127.0.0.1:{socket.getsockname()[1]}"
            task_status.started()

    async def _handle(self, client: trio.abc.Stream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await client.receive_some()
            if not data:
                return
            head += data
        method, target, _ = head.split(b" ", 2)
        self.asked.append(method + b" " + target)
        self.heads.append(head)
        wanted = b"Proxy-Authorization: Basic " + b64encode(self.credentials.encode())
        if self.credentials and wanted not in head:
            await client.send_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        url = httpx.URL(("https://" if method == b"CONNECT" else "") + target.decode())
        try:
            server = await trio.open_tcp_stream(url.host, url.port or 443)
        except OSError:
            await client.send_all(b"HTTP/1.1 502 Nobody there\r\nContent-Length: 0\r\n\r\n")
            return
        if method == b"CONNECT":
            await client.send_all(b"HTTP/1.1 200 Go on\r\n\r\n")
        else:
            await server.send_all(head.replace(target, url.raw_path, 1))
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, server, nursery.cancel_scope)
            nursery.start_soon(_copy, server, client, nursery.cancel_scope)


async def _copy(source: trio.abc.Stream, target: trio.abc.Stream, ended: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some():
            await target.send_all(data)
    except trio.BrokenResourceError:
        pass
    ended.cancel()


@asynccontextmanager
async def proxy(*, credentials: str = "", ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    async with trio.open_nursery() as nursery:
        serving_proxy = Proxy(credentials, ssl_context)
        await nursery.start(serving_proxy.serve)
        yield serving_proxy
        nursery.cancel_scope.cancel()
