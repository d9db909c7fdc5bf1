"""HTTP proxies: forwarding for http:// addresses, tunnels (CONNECT) for https:// ones."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from urllib.parse import unquote, urlsplit

import attrs
import trio

from ._streams import PlainStream, Stream, connect

_HEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")


class ProxyRefusedError(OSError):
    """A proxy did not open the requested tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        words = "asks for a user name and a password" if self.status == 407 else "refuses to connect"
        return f"the proxy {words} (status {self.status})"


@attrs.frozen
class Proxy:
    """An HTTP proxy.

    Attributes:
        secure: the connection to the proxy itself is TLS.
        authorization: the value of the ``Proxy-Authorization`` header, or "".
    """

    host: str
    port: int
    secure: bool
    authorization: str = attrs.field(default="", repr=False)

    @classmethod
    def from_url(cls, url: str) -> Proxy:
        """Parse a URL that may contain a user name and a password."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        authorization = ""
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {b64encode(pair.encode()).decode()}"
        return cls(parts.hostname or "", parts.port or (443 if secure else 80), secure, authorization)


async def connect_through(
    proxy: Proxy, host: str, port: int, context: ssl.SSLContext | None, proxy_context: ssl.SSLContext | None
) -> tuple[PlainStream, Stream]:
    """Connect to *proxy*, and, for TLS, through it; returns the plain stream and the stream to use.

    Without a *context*, for plain HTTP, requests must be sent to the proxy itself (see `Endpoint`).

    Raises:
        OSError, trio.BrokenResourceError: the connection, a TLS handshake or the tunnel failed.
    """
    plain, stream = await connect(proxy.host, proxy.port, proxy_context if proxy.secure else None)
    if context is None:
        return plain, stream
    try:
        await _open_tunnel(stream, proxy, host, port)
        tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        await tls.do_handshake()
    except BaseException:
        plain.close()
        raise
    return plain, tls


async def _open_tunnel(stream: Stream, proxy: Proxy, host: str, port: int) -> None:
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {there} HTTP/1.1", f"Host: {there}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    await stream.send_all("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(_HEAD_BYTES)
        head += data
        if not data or len(head) > _HEAD_BYTES:
            raise trio.BrokenResourceError("the proxy closed the connection") from None
    status = _STATUS.match(head)
    if status is None:
        raise trio.BrokenResourceError("the proxy does not speak HTTP") from None
    if not 200 <= int(status[1]) < 300:
        raise ProxyRefusedError(int(status[1]))
