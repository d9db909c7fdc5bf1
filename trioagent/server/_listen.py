"""The server's listeners: a TCP port, or a Unix socket that only this user can open."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .._errors import InvalidInputError
from ._config import ServerConfig

_BACKLOG = 512
_LONGEST_PATH = 107  # bytes of a Unix socket's path in the kernel


@asynccontextmanager
async def listening(config: ServerConfig) -> AsyncIterator[tuple[list[trio.SocketListener], str]]:
    """Listeners, and the host and port that clients call ("" on a Unix socket); closed when the block ends.

    Raises:
        InvalidInputError: the address is in use or cannot be used; the socket's path is too long, or another file
            exists there.
    """
    async with contextlib.AsyncExitStack() as stack:
        if config.unix_socket is not None:
            bound = await trio.to_thread.run_sync(_bind_unix, config.unix_socket)
            stack.callback(_remove, config.unix_socket, os.stat(config.unix_socket).st_ino)
            bound.listen(_BACKLOG)
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(bound))]
            authority = ""
        else:
            listeners = await _listeners(config.host, config.port)
            port = listeners[0].socket.getsockname()[1]
            authority = f"[{config.host}]:{port}" if ":" in config.host else f"{config.host}:{port}"
        for listener in listeners:
            await stack.enter_async_context(listener)
        yield listeners, authority


async def _listeners(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}; choose another host or port"
        raise InvalidInputError("ServerConfig", problem) from error


def _bind_unix(path: Path) -> socket.socket:
    """A socket bound to *path*, with mode 0600 from the moment it exists."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise InvalidInputError(
            "unix_socket", f"{str(path)!r} is longer than {_LONGEST_PATH} bytes; choose a shorter path"
        )
    _remove_dead(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as private:  # mode 0700
            own = os.open(private, os.O_RDONLY | os.O_DIRECTORY)
            try:
                here = f"/proc/self/fd/{own}/s"  # short, however long the folder's path is
                bound.bind(here)
                os.chmod(here, 0o600)
                os.rename(here, path)
            finally:
                os.close(own)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_dead(path: Path) -> None:
    """Remove a stale socket, which no process listens on.

    Raises:
        InvalidInputError: a process listens on it, or it is not a socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidInputError("unix_socket", f"{str(path)!r} exists and is not a socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise InvalidInputError("unix_socket", f"another server listens on {str(path)!r}; stop it, or choose another path")


def _remove(path: Path, inode: int) -> None:
    """Remove our own socket; another server may have replaced it."""
    with contextlib.suppress(FileNotFoundError):
        if os.lstat(path).st_ino == inode:
            path.unlink()
