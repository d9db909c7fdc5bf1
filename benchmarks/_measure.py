"""What the benchmarks share: CPU time of process trees, memory, a model server in its own process, tables."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from trioagent.testing import Say, serve_model

_TICK = os.sysconf("SC_CLK_TCK")

Answer = Callable[[int], str]  # the answer to a request, given how many messages it holds


def tree_cpu(pid: int | None = None) -> float:
    """CPU seconds of a process, of all that live below it, and of all that have died there and were waited for."""
    return _tree_total(pid or os.getpid(), 11, 12, 13, 14) / _TICK


def tree_faults(pid: int | None = None) -> int:
    """Minor page faults of the same processes: what does not depend on how busy the machine is."""
    return _tree_total(pid or os.getpid(), 7, 8)


def _tree_total(pid: int, *fields: int) -> int:
    """The sum of some fields of ``/proc/PID/stat``, counted from the state on."""
    total, todo = 0, [pid]
    while todo:
        current = todo.pop()
        try:
            values = Path(f"/proc/{current}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{current}/task/{current}/children").read_text().split()
        except OSError:
            continue
        total += sum(int(values[field]) for field in fields)
        todo += map(int, children)
    return total


def own_cpu() -> float:
    """CPU seconds of this process alone."""
    times = os.times()
    return times.user + times.system


def rss() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _serve(pipe: Connection, latency: float, answer: Answer) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            says: dict[int, Say] = {}

            def handler(request: object) -> Say:
                count = request.content.count(b'"role"')  # type: ignore[attr-defined]
                if count not in says:
                    says[count] = Say(answer(count), delay=latency)
                return says[count]

            server = await nursery.start(partial(serve_model, handler, record=False))
            pipe.send(server.base_url)

    trio.run(main)


@contextmanager
def model_server(latency: float, answer: Answer) -> Iterator[str]:
    """The base URL of a model server in a process of its own; *answer* must be importable."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, latency, answer), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def machine() -> str:
    """One line about where the figures come from."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, load {load:.1f}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, trio {trio.__version__}"
    )


_BARE_FORK = """
import os, time, statistics
def once():
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return time.perf_counter() - began
print(statistics.median(once() for _ in range(300)) * 1e3)
"""


def bare_fork() -> float:
    """Median ms of fork and wait in a bare interpreter: the floor under a block, and a gauge of the machine's mood."""
    done = subprocess.run([sys.executable, "-S", "-I", "-c", _BARE_FORK], capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print figure, measured value and target."""
    print(f"{'figure':<62} {'measured':>16} {'target':>14}")
    for name, value, target in rows:
        print(f"{name:<62} {value:>16} {target:>14}")
    sys.stdout.flush()
