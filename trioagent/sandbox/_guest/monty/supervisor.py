"""The supervisor: forks tool servers on the host's request, kills them with their workers, and waits for both.

It runs no code of any block, keeps no descriptor of a memory, and has one thread, so a kill request is executed at
once. Requests come one at a time over a stream socket: ``F`` with a tool server's end of its socket is answered with
its process id; ``K`` and a process id are answered when it and its worker are dead. The end of the stream kills all.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

from ..syscalls import Terminated, be_killed_first, raise_terminated, reset_signals
from . import worker as launch

PID = struct.Struct("=i")
LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36


def main(control_text: str, settings_text: str) -> None:
    reset_signals()
    be_killed_first()
    control = socket.socket(fileno=int(control_text))
    control.set_inheritable(False)
    settings: dict[str, Any] = json.loads(settings_text)
    tool_servers: set[int] = set()
    signal.signal(signal.SIGTERM, raise_terminated)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            handshake = _prepare(settings)
        except Exception as error:  # noqa: BLE001  # reported to the host, whatever it is
            handshake = {"ok": False, "step": "monty", "detail": f"{type(error).__name__}: {error}"}
        control.sendall(json.dumps(handshake).encode() + b"\n")
        if handshake["ok"]:
            _serve(control, settings, tool_servers)
    except (Terminated, OSError):
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for pid in list(tool_servers):
            end(pid)
        os._exit(0)


def _prepare(settings: dict[str, Any]) -> dict[str, Any]:
    """Import what tool servers need, and determine how they can be confined."""
    for name in os.environ.keys() - {"LD_LIBRARY_PATH"}:  # where a relocated interpreter finds its libpython
        del os.environ[name]
    settings["supervisor"] = os.getpid()
    settings["landlock"], settings["seccomp"] = 0, False
    sys.path[:0] = settings["folders"]
    from . import tool_server

    assert tool_server.LINUX == LINUX and "trio" not in sys.modules
    tool_server.warm_up()
    for name, folder in settings["packages"].items():
        tool_server.load_package(name, folder)
    if LINUX:
        from .. import seccomp
        from ..confine import keep_capabilities
        from ..syscalls import PR_SET_PDEATHSIG, call, prctl
        from . import confine

        # We die with the host, however it dies; and a worker whose tool server died becomes our child, to be reaped.
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        settings["landlock"] = confine.landlock_abi()
        try:
            call("seccomp", 2, 0, ctypes.byref(ctypes.c_uint32(seccomp.RET_KILL)))
            settings["seccomp"] = True
        except OSError:
            settings["seccomp"] = False
        settings["libraries"] = launch.libraries()
        keep_capabilities(confine.DAC_READ_SEARCH | confine.SETPCAP)  # for tool servers, which drop the rest by them
    gc.collect()
    gc.freeze()
    return {"ok": True, "landlock": settings["landlock"], "seccomp": settings["seccomp"]}


def _serve(control: socket.socket, settings: dict[str, Any], tool_servers: set[int]) -> None:
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if order == b"F" and descriptors:
            tool_servers.add(pid := _fork(control, descriptors[0], settings))
            control.sendall(PID.pack(pid))
        elif order == b"K":
            (pid,) = PID.unpack(_exactly(control, PID.size))
            if pid in tool_servers:
                end(pid)
                tool_servers.discard(pid)
            control.sendall(b"D")
        else:
            return


def _exactly(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise Terminated
        data += part
    return data


def _fork(control: socket.socket, descriptor: int, settings: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _become_tool_server(control, descriptor, settings)
    os.close(descriptor)
    return pid


def _become_tool_server(control: socket.socket, descriptor: int, settings: dict[str, Any]) -> NoReturn:
    from . import tool_server as tool_server

    try:
        reset_signals()
        control.close()
        tool_server.live(socket.socket(fileno=descriptor), settings)
    finally:
        os._exit(0)


def end(tool_server: int) -> None:
    """Kill a tool server and its worker, and wait until both are dead.

    Its process id cannot have been reused: a child exists until it is reaped. Worker and tool
    server are a process group that the worker cannot leave.
    """
    try:
        os.killpg(tool_server, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError):
            os.kill(tool_server, signal.SIGKILL)  # it has not created the group yet
    with contextlib.suppress(ChildProcessError):
        os.waitpid(tool_server, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-tool_server, 0)  # the worker, orphaned now and so our child (where the system does that)
