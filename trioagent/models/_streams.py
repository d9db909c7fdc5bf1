"""TCP and TLS streams whose socket can be polled and closed without a checkpoint."""

from __future__ import annotations

import os
import socket
import ssl
from functools import cache
from ipaddress import ip_address

import trio
from trio.lowlevel import checkpoint_if_cancelled, notify_closing, wait_readable, wait_writable

from .._errors import InvalidInputError

Stream = trio.abc.Stream


@cache
def shared_ssl_context(ca_file: str | None = None, ca_dir: str | None = None) -> ssl.SSLContext:
    """One context for all connections, created on first use: creating one costs more than 10 ms.

    Args:
        ca_file, ca_dir: trusted certificate authorities in place of the public ones.

    Raises:
        InvalidInputError: they cannot be read.
    """
    if ca_file or ca_dir:
        # OpenSSL, which takes several folders, would trust no authority, and report it only at each connection.
        if ca_dir and not any(map(os.path.isdir, ca_dir.split(os.pathsep))):
            raise InvalidInputError("certificate authorities", f"{ca_dir!r}: there is no such folder")
        try:
            context = ssl.create_default_context(cafile=ca_file, capath=ca_dir)
        except OSError as error:
            problem = error.strerror or str(error)
            raise InvalidInputError("certificate authorities", f"{ca_file or ca_dir!r}: {problem}") from error
    else:
        import httpx  # it has the public certificate authorities; 100 ms

        context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class PlainStream(trio.abc.Stream):
    """A TCP connection for requests and responses.

    It differs from `trio.SocketStream` in its assumptions: that the send buffer has room, and that the response has
    not arrived yet. So sending does not yield to other tasks, and receiving waits before it tries, which saves a
    scheduler pass and a system call per exchange.
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
    def has_pending_data(self) -> bool:
        """Whether there is something to read, which on an idle connection is usually its end of file."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Close the socket at once, without a checkpoint, so that no cancellation can come between.

        TLS is closed without close_notify, as HTTP clients do: HTTP itself delimits messages.
        """
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


async def connect(host: str, port: int, context: ssl.SSLContext | None) -> tuple[PlainStream, Stream]:
    """Connect; returns the plain stream and the stream to use: the same, or TLS over it if there is a *context*.

    Raises:
        OSError, trio.BrokenResourceError: the connection or the TLS handshake failed.
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
    # An IP address needs neither a name lookup nor happy eyeballs.
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


def describe_error(error: BaseException) -> str:
    """The message of the operating system or of TLS, which Trio keeps as the cause."""
    return str(error.__cause__ or error) or type(error).__name__
