"""Runs on a cluster as commands, each a process of its own: started, looked at, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CALM_SECONDS = 120.0


@contextmanager
def driver(
    folder: Path, words: Sequence[str], *, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``trioagent *words``, which prints to ``out.txt`` in *folder*; killed if it still runs at the end.

    Args:
        env: variables beside those of this process.
    """
    with (folder / "out.txt").open("ab") as out:
        command = [sys.executable, "-m", "trioagent", *words]
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def run_to_end(folder: Path, words: Sequence[str]) -> None:
    with driver(folder, words) as process:
        assert process.wait(CALM_SECONDS) == 0, printed(folder)


def printed(folder: Path) -> str:
    """The last of what commands have printed."""
    return (folder / "out.txt").read_text()[-3000:]


def status(folder: Path) -> dict[str, Any]:
    """What the run last said of itself; empty before it has."""
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((folder / "run" / "status.json").read_text())["progress"]
        return found
    return {}


def wait_for(folder: Path, what: Callable[[dict[str, Any]], bool], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The run's progress, as soon as *what* is true of it."""
    for _ in range(1200):
        found = status(folder)
        if found and what(found):
            return found
        assert process.poll() is None, printed(folder)
        time.sleep(0.05)
    raise AssertionError(status(folder))


def has_answers(more_than: int, progress: dict[str, Any]) -> bool:
    return bool(progress["answers"] > more_than and pids(progress))


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    return found


def pids(progress: dict[str, Any]) -> list[int]:
    """The processes of the workers that work."""
    return [int(node["node"].rpartition(":")[2]) for node in progress["nodes"] if node["state"] == "working"]


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def family(pid: int) -> set[int]:
    """A process's children, and theirs."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with suppress(OSError):
                children = {int(child) for child in path.read_text().split()} - found
                found |= children
                waiting += children
    return found
