"""Leaving things in the memory that hurt the host later."""

from ._case import Case

CASES = (
    Case(
        "plant_fifo",
        "a FIFO is left in the folder",
        """
import os
os.mkfifo("fifo.md")
""",
    ),
    Case(
        "plant_setuid",
        "set-id bits are left",
        """
import os
open("suid.md", "w").write("x")
os.chmod("suid.md", 0o6777)
""",
    ),
    Case(
        "plant_socket",
        "a unix socket is left",
        """
import socket
s = socket.socket(socket.AF_UNIX)
s.bind("sock.md")
""",
    ),
)
