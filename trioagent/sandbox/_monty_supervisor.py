"""The host's side of Monty's supervisor and its processes (`_guest.monty`); finds the installed extra."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import socket
import subprocess
import sys
from typing import Any

import attrs
import trio

from .._config import SandboxLimits
from ._control_group import ControlGroup
from ._guest.limits import HEADER_BYTES
from ._guest.monty.supervisor import PID
from ._sandbox import CodeNotSentError, NotAnsweredError, TierStartError
from ._zygote import (
    AS_USUAL,
    PACKAGES,
    SILENT,
    ProcessSettings,
    died_at_once,
    end_orphans,
    hung_up,
    open_channel,
)

VERSION = "1.4.0"
"""The one supported release; the extra pins it, since each release changes the interface."""

_ADVICE = "pip install trioagent[monty]"


@attrs.frozen
class Installed:
    """The interpreter's program, and the folders from which its Python client is imported."""

    binary: str
    folders: tuple[str, ...]


def find() -> Installed:
    """Find the installed extra.

    Raises:
        TierStartError: it is not installed, or in another version.
    """
    try:
        found = (
            importlib.metadata.version("pydantic-monty-client"),
            importlib.metadata.version("pydantic-monty-runtime"),
        )
        files = importlib.metadata.files("pydantic-monty-runtime") or ()
    except importlib.metadata.PackageNotFoundError as error:
        raise TierStartError("monty", f"the package {error.name} is not installed: {_ADVICE}") from None
    if set(found) != {VERSION}:
        raise TierStartError("monty", f"pydantic-monty {found[0]} is installed, this tier needs {VERSION}: {_ADVICE}")
    program = "monty.exe" if sys.platform == "win32" else "monty"
    # From the package's file list, not from PATH or an environment variable, which others could set.
    binaries = [os.path.realpath(str(file.locate())) for file in files if file.name == program]
    binaries = [binary for binary in binaries if os.access(binary, os.X_OK)]
    if not binaries:
        raise TierStartError("monty", f"the program of pydantic-monty-runtime is missing: {_ADVICE}")
    return Installed(binaries[0], _folders())


def _folders() -> tuple[str, ...]:
    folders: dict[str, None] = {}
    for name in ("pydantic_monty", "typing_extensions"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise TierStartError("monty", f"the module {name} cannot be found: {_ADVICE}")
        place = os.path.dirname(spec.origin)
        folders[os.path.dirname(place) if spec.submodule_search_locations else place] = None
    return tuple(folders)


_HANDSHAKE_BYTES = 65536


@attrs.frozen
class Pair:
    """A tool server and its worker: our end of the tool server's socket, and both process ids."""

    channel: socket.socket
    tool_server: int
    worker: int


class Supervisor:
    """A running supervisor. Started by :meth:`start`; it ends with :meth:`aclose`, or with this process."""

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, settings: ProcessSettings = AS_USUAL
    ) -> None:
        self._process, self._control, self._settings = process, control, settings
        self._asking = trio.Lock()
        self._stalled = False
        self._tool_servers: set[int] = set()  # those it has started and not reported dead
        self.handshake: dict[str, Any] = {}
        self.pid = process.pid

    @property
    def alive(self) -> bool:
        """Whether it serves, as far as known (see `Zygote.alive`)."""
        return not self._stalled and not hung_up(self._control)

    @classmethod
    async def start(
        cls,
        limits: SandboxLimits,
        installed: Installed | None = None,
        group: ControlGroup | None = None,
        processes: ProcessSettings = AS_USUAL,
    ) -> Supervisor:
        """Start a supervisor and wait until it serves.

        Args:
            installed: where the extra is, if not where `find` finds it.
            group: what counts its memory and processes, and those of all that it starts.
            processes: how it is started, and waited for.

        Raises:
            TierStartError: with the step that failed.
        """
        if not hasattr(os, "fork"):
            raise TierStartError(
                "system", "Windows has no way to hand a folder to a confined process; run under WSL instead"
            )
        installed = installed or find()
        settings = attrs.asdict(limits) | {
            "binary": installed.binary,
            "folders": list(installed.folders),
            "packages": PACKAGES,
            "launcher": _interpreter(limits.python),
        }
        process, ours = processes.start_process("monty.supervisor", settings=settings, kind=socket.SOCK_STREAM)  # 1 ms
        if group is not None:
            group.add(process.pid)  # before it has started anything: it takes Python some 20 ms to begin
        supervisor = cls(process, ours, processes)
        try:
            line = None
            with trio.move_on_after(processes.start):
                line = await supervisor._line()
            if line is None:
                supervisor._stalled = True
                raise TierStartError(SILENT, f"it said nothing within {processes.start:.0f} s")
            supervisor.handshake = json.loads(line) if line else {"step": SILENT, "detail": died_at_once(limits)}
            if supervisor.handshake.get("ok") is not True:
                raise TierStartError(str(supervisor.handshake.get("step")), str(supervisor.handshake.get("detail")))
        except BaseException:
            await supervisor.aclose()
            raise
        return supervisor

    async def aclose(self) -> None:
        """End the supervisor, and with it all tool servers and workers, and wait until they are gone."""
        with trio.move_on_after(0 if self._stalled else self._settings.death, shield=True):
            async with self._asking:  # a request in flight is completed first
                with contextlib.suppress(OSError):
                    self._control.shutdown(socket.SHUT_WR)
                await _receive(self._control, _HANDSHAKE_BYTES)  # until the end: it exits as the last one
        self._control.close()
        if self._process.poll() is None:
            self._process.kill()  # no effect if it is exiting
            with trio.move_on_after(self._settings.death, shield=True):
                await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        await end_orphans(self.pid)
        for tool_server in self._tool_servers:  # each has its own session, which includes its worker
            await end_orphans(tool_server, leader=True)

    async def fork(self) -> Pair:
        """Start a pair, confined and waiting for its first block.

        Raises:
            CodeNotSentError: the supervisor is gone, or hangs.
            TierStartError: the pair could not be set up (names the failed step).
        """
        ours, theirs = open_channel()
        try:
            with theirs:
                tool_server = await self._request_fork(theirs)
        except BaseException:
            ours.close()
            raise
        try:
            frame = None
            with trio.move_on_after(self._settings.start):
                frame = await _first_frame(ours)
            if frame is None:
                raise NotAnsweredError(f"a tool server was not set up within {self._settings.start:.0f} s")
            handshake = (
                json.loads(frame) if frame else {"step": SILENT, "detail": "a tool server died while it was set up"}
            )
            if handshake.get("ok") is not True:
                raise TierStartError(str(handshake.get("step")), str(handshake.get("detail")))
            return Pair(ours, tool_server, int(handshake.get("worker") or 0))
        except BaseException:
            await self.end(Pair(ours, tool_server, 0))
            raise

    async def end(self, pair: Pair) -> None:
        """Kill a pair and wait until both of it are dead, also when cancelled.

        If the supervisor does not confirm in time, it is killed, and they die with it.
        """
        pair.channel.close()
        if not self.alive:
            return
        with trio.move_on_after(self._settings.death, shield=True) as waited:
            async with self._asking:
                if await self._send(b"K" + PID.pack(pair.tool_server)) and await self._receive(1):
                    self._tool_servers.discard(pair.tool_server)
        if waited.cancelled_caught:
            self._give_up()  # late responses would be taken for those to other requests

    async def _request_fork(self, theirs: socket.socket) -> int:
        """Send the request and receive its response, uncancellably: a partial response would corrupt the next one."""
        async with self._asking:
            try:
                socket.send_fds(self._control, [b"F"], [theirs.fileno()])
            except OSError as error:
                raise CodeNotSentError(f"the supervisor is gone ({error.strerror})") from error
            answer = None
            with trio.move_on_after(self._settings.answer, shield=True):
                answer = await self._receive(PID.size)
            if answer is None or len(answer) < PID.size:
                self._give_up()
                if answer is None:
                    raise NotAnsweredError(f"the supervisor did not answer within {self._settings.answer:.0f} s")
                raise CodeNotSentError("the supervisor is gone")
        pid: int = PID.unpack(answer)[0]
        self._tool_servers.add(pid)
        return pid

    def _give_up(self) -> None:
        """Kill the supervisor, and with it all of its processes."""
        self._stalled = True
        self._process.kill()

    async def _send(self, order: bytes) -> bool:
        """Send an order; False if the supervisor, and so everything it could apply to, is gone."""
        try:
            self._control.sendall(order)  # a few bytes into an empty socket buffer: this never blocks
        except OSError:
            return False
        return True

    async def _receive(self, size: int) -> bytes:
        return await _receive(self._control, size)

    async def _line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < _HANDSHAKE_BYTES:
            part = await _receive(self._control, 1)
            if not part:
                return b""
            line += part
        return bytes(line)


async def _receive(channel: socket.socket, size: int) -> bytes:
    """*size* bytes; fewer at the end of the stream."""
    data = bytearray()
    while len(data) < size:
        await trio.lowlevel.wait_readable(channel)
        try:
            part = channel.recv(size - len(data))
        except BlockingIOError:
            continue
        except OSError:
            part = b""
        if not part:
            break
        data += part
    return bytes(data)


async def _first_frame(channel: socket.socket) -> bytes:
    size = int.from_bytes(await _receive(channel, HEADER_BYTES), "big")
    return await _receive(channel, min(size, _HANDSHAKE_BYTES))


def _interpreter(named: str | None) -> str:
    """The interpreter for the launcher's shebang line, which allows no blanks and no long paths."""
    base: str = named or getattr(sys, "_base_executable", "") or sys.executable
    for path in (base, os.path.realpath(base), "/usr/bin/python3"):
        if path and not any(blank in path for blank in " \t\n") and len(path) < 120 and os.access(path, os.X_OK):
            return path
    raise TierStartError("interpreter", f"no interpreter with a path of plain characters: {base!r}")
