"""Talking to anyone."""

from ._case import Case

CASES = (
    Case(
        "udp_send",
        "the UDP listener saw us",
        """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", @UDP@))
""",
    ),
    Case(
        "urllib",
        "HTTP to the listener",
        """
import urllib.request
t = urllib.request.urlopen("http://127.0.0.1:@PORT@/", timeout=2).read()
""",
    ),
    Case(
        "tcp_connect",
        "the TCP listener saw us",
        """
import socket
socket.create_connection(("127.0.0.1", @PORT@), timeout=2).send(b"x")
""",
    ),
    Case(
        "unix_connect",
        "the unix listeners saw us",
        """
import socket
t = []
for address in ("@UNIX@", "\\0@ABS@"):
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect(address)
        t.append(address)
    except OSError as error:
        t.append(repr(error))
""",
    ),
    Case(
        "own_socket_reused",
        "the channel to the host is turned into another socket",
        """
import os, socket
escaped = None
for descriptor in range(3, 16):
    try:
        s = socket.socket(fileno=descriptor)
        s.connect("@UNIX@")
        escaped = "connected"
    except OSError:
        pass
""",
    ),
)
