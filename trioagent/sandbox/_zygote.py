"""The host's side of a zygote: start it, ask it for children, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from . import _frames

_CHILD_SIDE = Path(__file__).parent / "_child" / "__main__.py"
_PACKAGE = Path(__file__).parent.parent
_TOOLS = _PACKAGE / "tools"
# Packages on the standard library alone that blocks may import, besides that: name and folder.
_LIBRARIES = {"offline_rules": str(_PACKAGE / "models" / "offline_rules" / "library")}
DEATH_SECONDS = 10.0  # SIGKILL cannot be refused; only a kernel stuck on a dead disk takes longer


class ZygoteStartError(Exception):
    """The zygote could not make its namespaces, or whatever else *step* names."""

    def __init__(self, step: str, detail: str, errno: int | None = None) -> None:
        super().__init__(step, detail, errno)
        self.step, self.detail, self.errno = step, detail, errno


@attrs.frozen
class Child:
    """A confined child that waits for its code: our end of its socket, itself (a pidfd), and its upper layer."""

    channel: socket.socket
    pidfd: int
    upper: int

    async def kill(self) -> None:
        """End the child at once and wait until it is dead, also when cancelled.

        Raises:
            SandboxError: the kernel did not end it within DEATH_SECONDS.
        """
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with trio.move_on_after(DEATH_SECONDS, shield=True) as waited:
            await trio.lowlevel.wait_readable(self.pidfd)
        if waited.cancelled_caught:
            raise SandboxError(f"a child did not end within {DEATH_SECONDS:.0f} s of being killed")

    def close(self) -> None:
        self.channel.close()
        os.close(self.pidfd)
        os.close(self.upper)


class Zygote:
    """A running zygote. Make one with :meth:`start`; it ends with :meth:`aclose`, or with this process."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, hello: dict[str, object]) -> None:
        self._process, self._control = process, control
        self.hello = hello
        self.pid = process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @classmethod
    async def start(cls, limits: SandboxLimits) -> Zygote:
        """Start a zygote and wait until it serves.

        Raises:
            ZygoteStartError: with the step that failed.
        """
        if not sys.executable:
            raise ZygoteStartError("interpreter", "sys.executable is empty: this Python is embedded in another program")
        settings = attrs.asdict(limits) | {"tools": str(_TOOLS), "libraries": _LIBRARIES}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                # Not trio's run_process: it starts children from a worker thread, and the zygote is tied by PDEATHSIG
                # to the thread that started it. A fixed hash seed makes the order of sets the same in every run; -I
                # would ignore it, so its parts are given one by one.
                process = subprocess.Popen(  # noqa: ASYNC220  # one fork and exec, about 1 ms
                    [sys.executable, "-S", "-B", "-s", "-P", _CHILD_SIDE, str(theirs.fileno()), json.dumps(settings)],
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
            raise ZygoteStartError("interpreter", f"cannot start {sys.executable}: {error}", error.errno) from error
        zygote = cls(process, ours, {})
        try:
            await trio.lowlevel.wait_readable(ours)
            message = ours.recv(65536)
            zygote.hello = (
                json.loads(message) if message else {"ok": False, "step": "start", "detail": "it died at once"}
            )
            if zygote.hello.get("ok") is not True:
                number = zygote.hello.get("errno")
                raise ZygoteStartError(
                    str(zygote.hello.get("step")),
                    str(zygote.hello.get("detail")),
                    number if isinstance(number, int) else None,
                )
        except BaseException:
            await zygote.aclose()
            raise
        return zygote

    async def aclose(self) -> None:
        """Kill the zygote, and with it every child, and wait until it is gone."""
        self._control.close()
        if self._process.poll() is not None:
            return
        pidfd = os.pidfd_open(self._process.pid)
        try:
            for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, DEATH_SECONDS)):
                self._process.send_signal(number)  # SIGTERM has the outer process kill and reap the inner one
                with trio.move_on_after(seconds, shield=True) as waited:
                    await trio.lowlevel.wait_readable(pidfd)
                if not waited.cancelled_caught:
                    break
        finally:
            os.close(pidfd)
            self._process.poll()

    async def fork(self, root_fd: int | None, *, hide: bool) -> Child:
        """Have a child made, confined and waiting for its code.

        Raises:
            SandboxError: the zygote is gone, or the child could not be set up (the text names the step).
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                # Straight to the child, which will find it there: what is one agent's stays out of the zygote.
                ours.sendall(_frames.encode(self._order(root_fd, hide=hide)))
                await self._ask(theirs)
            await trio.lowlevel.wait_readable(ours)
            message, descriptors, _, _ = socket.recv_fds(ours, 1, 2)
            if message == b"U" and len(descriptors) == 2:
                return Child(ours, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            raise SandboxError(await self._why(ours, message))
        except BaseException:
            ours.close()
            raise

    def _order(self, root_fd: int | None, *, hide: bool) -> dict[str, object]:
        """What the child needs to make its view.

        The folder goes by name, with its device and inode for the child to check: an overlay takes layers only from the
        mount namespace it is made in, and a descriptor of ours lies in another.
        """
        if root_fd is None:
            return {"memory": None, "hide": False, "owner": None}
        info = os.fstat(root_fd)
        path = os.readlink(f"/proc/self/fd/{root_fd}".encode())
        return {
            "memory": path.decode("latin-1"),  # any bytes: a path need not be UTF-8
            "device": info.st_dev,
            "inode": info.st_ino,
            "hide": hide,
            "owner": [info.st_uid, info.st_gid] if self.hello.get("all_ids") else None,
        }

    async def _ask(self, theirs: socket.socket) -> None:
        while True:
            try:
                socket.send_fds(self._control, [b"F"], [theirs.fileno()])
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control)
            except OSError as error:
                raise SandboxError(f"the zygote is gone ({error.strerror})") from error

    @staticmethod
    async def _why(channel: socket.socket, start: bytes) -> str:
        """The set-up's own words, up to the end of its socket."""
        words = b""
        with trio.move_on_after(1):
            while len(words) < 4000:
                await trio.lowlevel.wait_readable(channel)
                part = channel.recv(4096)
                if not part:
                    break
                words += part
        if start != b"E":
            return "a child died while it was set up"
        return words.partition(b"\xffDIE")[0].decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """What the interpreter needs to start, and nothing else; the zygote forgets that too before it forks anything."""
    wanted = {"PYTHONHASHSEED": "0"}
    if "LD_LIBRARY_PATH" in os.environ:  # where a relocated interpreter finds its libpython
        wanted["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return wanted
