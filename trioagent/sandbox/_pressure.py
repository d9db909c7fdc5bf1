"""How much memory is left for blocks: where there is little, fewer run at once."""

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
    """Lets a block begin if the memory that is left would do for it and all that run, each using all that it may.

    What those that run have used by then counts twice: nobody can tell how much of what is gone is theirs. One may
    always run. What the kernel would otherwise do is to end a process, as a rule a block that has used no more
    than it may.

    Args:
        block_bytes: what one block may use.
        left: what this process and those that it starts may still take; None: as the system says.
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
    """The control groups, of either version, whose limits on memory hold for this process.

    Args:
        own: its ``/proc/self/cgroup``.
        mounted: where the groups are. In a container its own group may be the topmost there, whatever its name outside.
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
    """What this process and those that it starts may still take: of the machine, and of each group."""
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
    kept = "inactive_file " if second else "total_inactive_file "  # the page cache, which gives way
    for line in (group / "memory.stat").read_text().splitlines():
        if line.startswith(kept):
            used -= int(line.split()[1])
    return max(0, int(text) - used)
