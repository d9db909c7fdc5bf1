"""Memory pressure: when little memory is available, fewer blocks run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

_CGROUPS = Path("/sys/fs/cgroup")
_LOOK_AGAIN = 0.05  # s
_UNLIMITED = 1 << 60


class MemoryPressure:
    """Lets a block begin if the available memory suffices for it and all running blocks at their limits.

    Memory that running blocks already use counts twice, since it cannot be told apart from other use. One block may
    always run. Without this, the kernel would kill a process when memory runs out, usually a block that has kept its
    limit.

    Args:
        block_bytes: the limit of one block.
        left: returns the memory that this process and its children may still take; None: as the system reports.
    """

    def __init__(self, block_bytes: int, left: Callable[[], int] | None = None) -> None:
        self._block_bytes = block_bytes
        self._running = 0
        self._left, self._looked = _UNLIMITED, -_LOOK_AGAIN
        self._measure = left or partial(bytes_left, list(memory_groups(Path("/proc/self/cgroup"), _CGROUPS)))

    async def begin(self) -> None:
        while self._running and self._now_left() < (self._running + 1) * self._block_bytes:  # noqa: ASYNC110  # of no event
            await trio.sleep(_LOOK_AGAIN)
        self._running += 1

    def end(self) -> None:
        self._running -= 1

    def _now_left(self) -> int:
        now = trio.current_time()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked, self._left = now, self._measure()
        return self._left


def memory_groups(own: Path, mounted: Path) -> Iterator[Path]:
    """The cgroups, of either version, whose memory limits apply to this process.

    Args:
        own: its ``/proc/self/cgroup``.
        mounted: where cgroups are mounted. In a container its own group may be the topmost one there, whatever its
            name outside.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops = [mounted, mounted / "unified"]
        elif "memory" in controllers.split(","):
            tops = [mounted / "memory"]
        else:
            continue
        for top in tops:
            group = top / path.strip("/")
            for folder in (group, *group.parents):
                if any((folder / name).exists() for name in ("memory.max", "memory.limit_in_bytes")):
                    yield folder
                if folder == top:
                    break


def bytes_left(groups: list[Path]) -> int:
    """The memory that this process and its children may still take: of the machine, and of each cgroup."""
    left = _UNLIMITED
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) * 1024
    for group in groups:
        with suppress(OSError, ValueError):
            left = min(left, _left_in(group))
    return left


def _left_in(group: Path) -> int:
    second = (group / "memory.max").exists()
    text = (group / ("memory.max" if second else "memory.limit_in_bytes")).read_text().strip()
    if text == "max" or int(text) >= _UNLIMITED:
        return _UNLIMITED
    used = int((group / ("memory.current" if second else "memory.usage_in_bytes")).read_text())
    kept = "inactive_file " if second else "total_inactive_file "  # page cache, which can be reclaimed
    for line in (group / "memory.stat").read_text().splitlines():
        if line.startswith(kept):
            used -= int(line.split()[1])
    return max(0, int(text) - used)
