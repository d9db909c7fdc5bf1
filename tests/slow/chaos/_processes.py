"""Processes as the kernel shows them: who is below whom, who is left, and how long a death takes."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import trio

_DEATH_SECONDS = 20.0
_GONE_SECONDS = 5.0  # what dies by itself does so in milliseconds; a busy machine may take a second


def below(pid: int) -> list[int]:
    """All processes below *pid*, those that have ended and were not waited for included."""
    found, todo = [], [pid]
    while todo:
        try:
            lists = [path.read_text() for path in Path(f"/proc/{todo.pop()}/task").glob("*/children")]
        except OSError:
            continue  # it has just ended
        children = [int(child) for text in lists for child in text.split()]
        found += children
        todo += children
    return found


def marked(*marks: str) -> list[int]:
    """All living processes with one of *marks* in their command lines, which a fork inherits."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes()
                if any(mark.encode() in line for mark in marks):
                    found.append(int(folder.name))
    return found


async def kill(process: trio.Process) -> float:
    """``kill -9`` of the process alone; seconds until it and all that was below it are dead."""
    doomed = [process.pid, *below(process.pid)]
    with contextlib.ExitStack() as stack:
        pidfds = []
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                stack.callback(os.close, pidfd)
                pidfds.append(pidfd)
        began = trio.current_time()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        with trio.move_on_after(_DEATH_SECONDS):  # `wait_gone` names who has not gone
            for pidfd in pidfds:
                await trio.lowlevel.wait_readable(pidfd)
        seconds = trio.current_time() - began
    await process.wait()
    return seconds


async def wait_gone(*marks: str) -> list[int]:
    """Wait until no marked process lives; those that would not go, and had to be killed."""
    left = marked(*marks)
    with trio.move_on_after(_GONE_SECONDS):
        while left:
            await trio.sleep(0.01)
            left = marked(*marks)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
