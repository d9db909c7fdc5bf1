"""A cgroup for the processes of one sandbox, if the system has delegated one to us (cgroup v2).

It also counts what per-process limits do not count (page tables, sockets, kernel memory of files), for all children
together. This program is not moved: its own group must already be one whose children may have limits, or be inside of
such a group, as in a service with ``Delegate=yes`` and a leaf for its main process. Otherwise there is no cgroup, and
only the limits of each process apply.
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
"""For zygotes, their libraries and a sandbox's layers, besides the blocks themselves."""
MORE_PIDS = 32


@attrs.frozen
class BlockShare:
    """One block's share of a group.

    Attributes:
        memories: a multiple of ``SandboxLimits.memory_bytes``: so many of its processes have that limit each.
        threads: of all of its processes together.
    """

    memories: int = 1
    threads: int = 2


def delegated(own: Path = _OWN, mounted: Path = _CGROUPS) -> Path | None:
    """The cgroup in which we may create children with limits on memory and processes, or None."""
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
    """A cgroup for one sandbox's processes. It is created at once, and removed by `close`, when they have ended.

    Args:
        parent: the group to create it in (see `delegated`).
        share: the share of one block.

    Raises:
        OSError: it cannot be created.
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
        """Move a process that has just been started into the group; its children will be in it, too."""
        with suppress(OSError):  # it has ended already
            (self.path / "cgroup.procs").write_text(f"{pid}\n")

    def close(self) -> None:
        """Remove the group, unless something still runs in it."""
        with suppress(OSError):
            self.path.rmdir()


def new_group(limits: SandboxLimits, share: BlockShare = BlockShare()) -> ControlGroup | None:
    """A cgroup for a sandbox's processes, or None if none is delegated."""
    parent = delegated()
    if parent is None:
        return None
    try:
        return ControlGroup(parent, limits, share)
    except OSError:
        return None
