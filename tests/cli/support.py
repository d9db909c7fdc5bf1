"""Runs the command line as what it is: a process of its own, with pipes or with a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

SECONDS = 30
"""How long a command may take before its test fails; far above what any of them needs."""

# A terminal's Ctrl-C reaches only a process whose controlling terminal it is.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "trioagent", *arguments]


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment with nothing in it that chooses a model, and a home of its own."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
        if name in os.environ
    }
    return {**kept, "HOME": str(home), "TERM": "xterm", "PYTHONWARNINGS": "error", **more}


@attrs.frozen
class Ended:
    """The result of a command."""

    code: int
    out: str
    err: str


async def trioagent(
    *arguments: str, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Ended:
    """Run one command to its end."""
    with trio.fail_after(SECONDS):
        done = await trio.run_process(
            command(*arguments),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(home, **(env or {})),
            cwd=cwd or home,
        )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@asynccontextmanager
async def started(
    arguments: Sequence[str], *, home: Path, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[trio.Process]:
    """A command that runs meanwhile, with pipes; killed at the end if it still does.

    Args:
        before: a command that executes it, such as ``nohup``.
    """
    process = await trio.lowlevel.open_process(
        [*before, *command(*arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home, **(env or {})),
        cwd=home,
    )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    with trio.CancelScope(shield=True):
        await process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


@attrs.define
class Terminal:
    """A command that has a terminal, seen from the other end of it.

    Attributes:
        output: all that was shown so far.
    """

    process: trio.Process
    stream: trio.lowlevel.FdStream
    output: str = ""
    _seen: int = 0

    async def type(self, keys: str) -> None:
        await self.stream.send_all(keys.encode())

    async def expect(self, text: str) -> str:
        """Wait until *text* is shown, after what was expected before; what was shown up to it."""
        with trio.move_on_after(SECONDS):
            while (at := self.output.find(text, self._seen)) < 0:
                if not await self._receive():
                    break
            else:
                before, self._seen = self.output[self._seen : at], at + len(text)
                return before
        raise AssertionError(
            f"{text!r} was not shown after {self.output[: self._seen]!r}, but {self.output[self._seen :]!r}"
        )

    async def type_when_idle(self, keys: str) -> None:
        """The same, once the command sleeps: CPython loses a Ctrl-C in the instant between two waits of readline."""
        with trio.fail_after(SECONDS):
            while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
                await trio.sleep(0.001)
        await self.type(keys)

    async def end(self) -> int:
        """Wait for the command to end by itself; its exit code."""
        with trio.fail_after(SECONDS):
            while await self._receive():
                pass
            return await self.process.wait()

    async def _receive(self) -> bool:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:  # EIO: how Linux says that nobody holds the other end any more
            return False
        self.output += data.decode(errors="replace")
        return bool(data)


@asynccontextmanager
async def terminal(*arguments: str, home: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Terminal]:
    """A command with a terminal of its own; killed at the end if it still runs."""
    master, slave = os.openpty()
    stream = trio.lowlevel.FdStream(master)
    try:
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", _TAKE_TERMINAL, *command(*arguments)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                env=environment(home, **(env or {})),
                cwd=home,
            )
        finally:
            os.close(slave)
        try:
            yield Terminal(process, stream)
        finally:
            await _end(process)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()


def notes_in(folder: Path) -> dict[str, bytes]:
    """Everything in a folder of notes but their history."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".trioagent/history/")}
