"""A model server in a thread of its own, the processes below this one, and programs that run as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from trioagent import ModelConfig
from trioagent.compat import AsyncAgent
from trioagent.testing import ModelServer, ScriptedModel, serve_model

SECONDS = 60
"""Far above what anything here needs."""

NOTED = "<think>note it</think>\n<python>\ncreate_file('user.md', '# Ada')\n</python>"
STUCK = "<think>x</think>\n<python>\ncreate_file('user.md', 'torn')\nwhile True: pass\n</python>"
HELLO = "<think>greet</think>\n<python></python>\n<reply>Hello.</reply>"
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


def agent_with(folder: Path, *answers: Any) -> AsyncAgent:
    """An asyncio agent on a memory of its own, with scripted answers."""
    return AsyncAgent(memory_path=folder, model=ScriptedModel(answers), predetermined_memory_path=True)


@contextmanager
def model_server(script: Iterable[Any] | Callable[..., Any]) -> Iterator[ModelServer]:
    """A loopback server that runs in a thread until the block ends."""
    ready, found = threading.Event(), []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                server = await nursery.start(serve_model, script)
                found.extend([server, trio.lowlevel.current_trio_token(), scope])
                ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(SECONDS)
    server, token, scope = found
    try:
        yield server
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


def loopback(server: ModelServer) -> ModelConfig:
    return ModelConfig(base_url=server.base_url, model="loopback")


def children(pid: int) -> set[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return set()


def descendants(pid: int | None = None) -> set[int]:
    """Every process below *pid*, or below this one."""
    found, todo = set[int](), [pid or os.getpid()]
    while todo:
        below = children(todo.pop())
        found |= below
        todo += below
    return found


def alive(pids: Iterable[int]) -> set[int]:
    """Those of *pids* that run (a zombie does not)."""
    found = set()
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if status != "Z":
            found.add(pid)
    return found


def running_blocks(pid: int | None = None) -> set[int]:
    """The sandbox's children in which a block has used the processor for some 20 ms.

    They are the children of its second process; others are being set up, or wait for a block.
    """
    found = set()
    for outer in children(pid or os.getpid()):
        for inner in children(outer):
            for child in children(inner):
                with suppress(OSError):
                    if int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11]) >= 2:
                        found.add(child)
    return found


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for *condition*; what it gives."""
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"never happened: {what or condition}"
        time.sleep(0.005)
    return value


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": str(home), **more}


@contextmanager
def program(source: str, home: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program with pipes, below its own session; killed at the end if it still runs."""
    script = home / "program.py"
    script.write_text(textwrap.dedent(source))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home,
        env=environment(home, **env),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that ends by itself."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err
