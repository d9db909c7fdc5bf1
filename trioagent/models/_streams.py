"""TCP and TLS streams whose socket can be looked at and closed without a checkpoint."""

from __future__ import annotations

import os
import socket
import ssl
from functools import cache
from ipaddress import ip_address

import trio
from trio.lowlevel import checkpoint_if_cancelled, notify_closing, wait_readable, wait_writable

Stream = trio.abc.Stream


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """One context for all connections, made on first use: making one costs more than 10 ms."""
    import httpx  # which knows the public authorities; 100 ms

    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class PlainStream(trio.abc.Stream):
    """A TCP connection for requests and their answers.

    It differs from `trio.SocketStream` in what it takes for likely: that there is room for what is sent, and that the
    answer is not there yet. So sending does not give way to other tasks, and receiving waits before it tries, which
    costs a turn of the scheduler and a system call less for each exchange.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._socket = connected

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await checkpoint_if_cancelled()
        try:
            sent = self._send(data)
            if sent == len(data):
                return
            with memoryview(data) as rest:
                while sent < len(rest):
                    await wait_writable(self._socket)
                    sent += self._send(rest[sent:])
        except OSError as error:
            raise self._gone() from error

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self._socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            if self._socket.fileno() < 0:
                raise self._gone()
            await wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes or 65536)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone() from error

    def _gone(self) -> Exception:
        return trio.ClosedResourceError() if self._socket.fileno() < 0 else trio.BrokenResourceError()

    @property
    def has_news(self) -> bool:
        """Whether there is something to read: on an idle connection as a rule its end."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Close the socket at once, without a checkpoint, so that no cancellation can come between.

        TLS is closed without its good-bye, as HTTP clients do: HTTP itself says where a message ends.
        """
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


async def connect(host: str, port: int, context: ssl.SSLContext | None) -> tuple[PlainStream, Stream]:
    """A connection's socket, and the stream to talk over: the same, or TLS over it if there is a *context*.

    Raises:
        OSError, trio.BrokenResourceError: there is nobody, or nobody to be trusted.
    """
    plain = PlainStream(await _connected(host, port))
    if context is None:
        return plain, plain
    try:
        tls = trio.SSLStream(plain, context, server_hostname=host, https_compatible=True)
        await tls.do_handshake()
    except BaseException:
        plain.close()
        raise
    return plain, tls


async def _connected(host: str, port: int) -> socket.socket:
    try:
        version = ip_address(host).version
    except ValueError:
        stream = await trio.open_tcp_stream(host, port)
        connected = socket.socket(fileno=stream.socket.detach())
        connected.setblocking(False)
        return connected
    # A number is one address: there is nothing to look up, and no race between several to be run.
    await checkpoint_if_cancelled()
    connecting = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET)
    try:
        connecting.setblocking(False)
        try:
            connecting.connect((host, port))
        except BlockingIOError:
            await wait_writable(connecting)
            if error := connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error)) from None
    except BaseException:
        connecting.close()
        raise
    return connecting


def words_of(error: BaseException) -> str:
    """What the operating system or TLS said, which Trio keeps as the cause."""
    return str(error.__cause__ or error) or type(error).__name__
