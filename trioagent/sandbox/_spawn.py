"""Start a process that makes the children of blocks: a zygote, or monty's warden."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._tier import TierStartError

_PROGRAM = Path(__file__).parent / "_guest" / "__main__.py"
DEATH_SECONDS = 10.0  # SIGKILL cannot be refused; only a kernel stuck on a dead disk takes longer


def spawn(
    module: str, *, settings: Mapping[str, Any], kind: socket.SocketKind
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a bare interpreter on a module of `_guest`; returns it, and our end of a socket whose other end it has.

    Args:
        module: its ``main`` gets the number of the descriptor of its end of the socket, and *settings* as JSON.
        kind: of the socket.

    Raises:
        TierStartError: the interpreter cannot be started.
    """
    if not sys.executable:
        raise TierStartError("interpreter", "sys.executable is empty: this Python is embedded in another program")
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    try:
        with theirs:
            # Not trio's run_process: it starts children from a worker thread, and this one is tied by PDEATHSIG to the
            # thread that started it. -I would ignore the hash seed, so its parts are given one by one.
            process = subprocess.Popen(
                [
                    *(sys.executable, "-S", "-B", "-s", "-P", _PROGRAM),
                    *(module, str(theirs.fileno()), json.dumps(settings)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is for us, not for it
            )
    except OSError as error:
        ours.close()
        raise TierStartError("interpreter", f"cannot start {sys.executable}: {error}", error.errno) from error
    return process, ours


def _environment() -> dict[str, str]:
    """What the interpreter needs to start, and nothing else; the program forgets that too before it forks anything.

    A fixed hash seed makes the order of sets the same in every run.
    """
    wanted = {"PYTHONHASHSEED": "0"}
    if "LD_LIBRARY_PATH" in os.environ:  # where a relocated interpreter finds its libpython
        wanted["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return wanted
