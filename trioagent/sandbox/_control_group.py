"""A control group of its own for the processes of one sandbox, where the system has delegated one to us (cgroup v2).

What no limit of a single process counts (page tables, sockets, what the kernel keeps for files) counts there, and for
all children together. Nothing of this program is moved: its own group must already be one whose children may have
limits, or lie in such a one, as a service with ``Delegate=yes`` and a leaf for its main process does. Where that is not
so, the sandbox goes without: each process has its own limits in any case.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import attrs

from .._config import SandboxLimits

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_WANTED = {"memory", "pids"}
ZYGOTE_BYTES = 256 * 1024 * 1024
"""What zygotes, their libraries and a sandbox's layers may take besides the blocks themselves."""
MORE_PIDS = 32


@attrs.frozen
class BlockShare:
    """What one block may take of a group.

    Attributes:
        memories: how often ``SandboxLimits.memory_bytes``: that many of its processes have the limit.
        threads: of all of its processes.
    """

    memories: int = 1
    threads: int = 2


def delegated(own: Path = _OWN, mounted: Path = _CGROUPS) -> Path | None:
    """The group in which we may make others with limits on memory and processes, if there is one."""
    try:
        paths = [line[3:] for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return None
    for path in paths:
        for top in (mounted, mounted / "unified"):
            group = top / path.strip("/")
            for folder in (group, group.parent) if group != top else (group,):
                with suppress(OSError):
                    enabled = set((folder / "cgroup.subtree_control").read_text().split())
                    if enabled >= _WANTED and os.access(folder, os.W_OK | os.X_OK):
                        return folder
    return None


class ControlGroup:
    """A group for one sandbox's processes; made at once, and removed by `close`, when they have ended.

    Args:
        parent: the group that it is made in (see `delegated`).
        share: what one block may take.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: Path, limits: SandboxLimits, share: BlockShare = BlockShare()) -> None:
        self.path = parent / f"trioagent-{os.getpid()}-{os.urandom(4).hex()}"
        self.path.mkdir()
        memory = ZYGOTE_BYTES + limits.parallel * (share.memories * limits.memory_bytes + limits.view_bytes)
        pids = MORE_PIDS + limits.parallel * share.threads
        try:
            for name, value in (("memory.max", memory), ("pids.max", pids)):
                (self.path / name).write_text(f"{value}\n")
        except BaseException:
            self.close()
            raise

    def add(self, pid: int) -> None:
        """Move a process that has just been started into the group; what it starts will be in it, too."""
        with suppress(OSError):  # it has ended already
            (self.path / "cgroup.procs").write_text(f"{pid}\n")

    def close(self) -> None:
        """Remove the group, unless something still runs in it."""
        with suppress(OSError):
            self.path.rmdir()


def new_group(limits: SandboxLimits, share: BlockShare = BlockShare()) -> ControlGroup | None:
    """A group for a sandbox's processes, where one can be had."""
    parent = delegated()
    if parent is None:
        return None
    try:
        return ControlGroup(parent, limits, share)
    except OSError:
        return None
