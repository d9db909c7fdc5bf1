"""Who is at the other end of a Unix socket: its mode restricts access only if the file system keeps modes."""

from __future__ import annotations

import os
import socket
import struct
from typing import Protocol

_CREDENTIALS = "3i"  # of SO_PEERCRED: process, user, group


class _Socket(Protocol):
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes | int: ...


def is_own_peer(connected: _Socket) -> bool:
    """Whether the peer runs as this user or as root. For a listening socket, its creator counts.

    If the system cannot tell, this is true: then the socket's mode is the only protection.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    assert isinstance(credentials, bytes)
    _, uid, _ = struct.unpack(_CREDENTIALS, credentials)
    return uid in (0, os.geteuid())
