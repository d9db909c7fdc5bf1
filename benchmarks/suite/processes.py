"""What the kernel says of a process and of all that live below it. Standard library only."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

CPU_RESOLUTION = 4 / _TICK
"""Seconds by which the CPU of living children may be off: four counters, each cut to whole ticks."""


def below(pid: int) -> Iterator[int]:
    """The living descendants of a process, whichever of its threads began them."""
    todo = [pid]
    while todo:
        try:
            for task in Path(f"/proc/{todo.pop()}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                yield from children
                todo += children
        except OSError:
            continue  # it ended meanwhile


def own_cpu() -> float:
    """CPU seconds of this process alone."""
    return time.process_time()


def children_cpu() -> float:
    """CPU seconds of everything below this process: of the living, of what those have waited for, and of our dead."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = dead.ru_utime + dead.ru_stime
    for pid in below(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / _TICK
    return total


def rss() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def forget_peak() -> None:
    """Let :func:`peak_rss` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """The most resident bytes of this process since :func:`forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel keeps no VmHWM")


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def available_memory() -> int:
    """Bytes that this machine can give before it has to swap."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say how much memory is available")


def memory_of_tree(pid: int) -> int:
    """Bytes of a process and all below it, shared pages counted once (PSS; RSS where that is refused)."""
    return sum(map(_memory, [pid, *below(pid)]))


def _memory(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError):
        pass  # it ended meanwhile
    return 0
