"""What the zygote and its children stand on: namespaces of their own, or, where there are none, the machine as it is.

Both grounds offer the same: how a zygote settles in and leaves, and how a child gets its view of the memory. The walls
that are put up after that (:mod:`.confine`) are the same on both, save for what only namespaces can do.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from . import namespaces, view
from .copying import FOLDER
from .scratch import Scratch, best_place, remove_left_behind
from .syscalls import PR_SET_PDEATHSIG, prctl

NOBODY = 65534
# By bit, in CapEff of /proc/self/status.
CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT = 0, 6, 7, 18

Settings = dict[str, Any]
Order = dict[str, Any]
Owner = tuple[int, int]


class Room(NamedTuple):
    """What of a view there is before the memory is known.

    Attributes:
        name: of the view.
        base: descriptor of the folder or mount that it lies in.
        told: descriptor of the folder from which the host reads what the block did.
        path: where the block finds the view.
    """

    name: str
    base: int
    told: int
    path: str


class Ground(ABC):
    """One zygote's ground.

    Attributes:
        all_ids: we may become another user, so blocks run as one who owns nothing but the view.
        changes_root: a child's root is its view.
        keeps_views: a view stays until it is dropped, and has no size of its own.
        minimum_landlock: the Landlock ABI without which this ground is not safe.
        step: what `settle` is called in error messages.
    """

    all_ids: bool
    changes_root: bool
    keeps_views: bool
    minimum_landlock: int
    step: str
    path: str | None = None
    """The folder that holds the views, if there is one."""

    @abstractmethod
    def settle(self) -> None:
        """Take possession; what runs after this is the zygote.

        Raises:
            OSError: the kernel refuses.
        """

    @abstractmethod
    def prepare(self, name: str) -> Room:
        """Make, in the child, what of its view does not depend on the memory; *name* is unique to it."""

    @abstractmethod
    def view(self, room: Room, order: Order) -> int:
        """Make a child's view, in the child. Returns the descriptor of its root."""

    @abstractmethod
    def owner(self, order: Order) -> Owner | None:
        """Whom a child is to become, None for nobody else."""

    def tie(self, zygote: int) -> None:  # noqa: B027  # a namespace's process 1 takes all others with it
        """In a child: end when the zygote, process *zygote*, ends."""

    def drop(self, name: str) -> None:  # noqa: B027  # a detached mount goes with its last descriptor
        """In the zygote: a view is not needed any more, if it was made at all."""

    def is_overfull(self, name: str) -> bool:
        """In the zygote: has a block, still running, written more than it may? (A mount has a size of its own.)"""
        return False

    def leave(self) -> None:  # noqa: B027
        """In the zygote, as the last thing: nothing of ours may stay behind."""


class Namespaces(Ground):
    """The ``kernel`` tier: see :mod:`.namespaces` and :mod:`.view`."""

    changes_root, keeps_views, minimum_landlock, step = True, False, 1, "namespaces"

    def __init__(self, settings: Settings) -> None:
        self._size, self._files = settings["view_bytes"], settings["view_files"]

    def settle(self) -> None:
        self.all_ids = namespaces.enter()
        namespaces.become_init()

    def prepare(self, name: str) -> Room:
        disk, upper = view.make_upper(size=self._size, files=self._files)
        return Room(name, disk, upper, "/")

    def view(self, room: Room, order: Order) -> int:
        memory = view.open_memory(order)
        return view.lay_over(memory, room.base, room.told, hide=order["hide"], owner=self.owner(order))

    def owner(self, order: Order) -> Owner | None:
        owner: Owner | None = order["owner"]
        return owner


class Bare(Ground):
    """The ``kernel-lite`` tier: the machine's own processes and mounts, so the view is a copy of the memory.

    What the mounts and the chroot of the other ground hide, Landlock and seccomp must refuse here. Truncating by path
    is among that, which Landlock knows from ABI 3 on. The limits on what a block writes are looser: they are looked
    after from outside, now and then, and checked once it has ended.
    """

    keeps_views, minimum_landlock, step = True, 3, "scratch folder"

    def __init__(self, settings: Settings) -> None:
        self._size, self._files = settings["view_bytes"], settings["view_files"]
        self._place = best_place(self._size * settings["parallel"], settings["temporary"])
        held = _capabilities()
        able = all(held >> wanted & 1 for wanted in (CAP_CHOWN, CAP_SETGID, CAP_SETUID))
        self.all_ids = able and _exists("uid") and _exists("gid")
        self.changes_root = bool(held >> CAP_SYS_CHROOT & 1)

    def settle(self) -> None:
        # Not SIGKILL as on the other ground: there is something to clear away first. See leave() and zygote.serve().
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        remove_left_behind(self._place)
        # A child that becomes someone else finds its view by path, unless that is its root.
        self._scratch = Scratch(self._place, passable=self.all_ids and not self.changes_root)
        self.path = self._scratch.path

    def prepare(self, name: str) -> Room:
        around, root, path = self._scratch.make(name)
        return Room(name, around, root, "/" if self.changes_root else path)

    def view(self, room: Room, order: Order) -> int:
        memory = view.open_memory(order)
        readable = os.open(".", FOLDER, dir_fd=memory) if memory is not None else None
        self._scratch.fill(room.base, room.told, readable, self.owner(order))
        return room.told

    def owner(self, order: Order) -> Owner | None:
        # Whoever owns the notes: the view is a copy, so a block needs to own no more than that.
        return (NOBODY, NOBODY) if self.all_ids else None

    def tie(self, zygote: int) -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != zygote:
            os._exit(1)  # it ended before we were tied to it

    def drop(self, name: str) -> None:
        self._scratch.drop(name)

    def is_overfull(self, name: str) -> bool:
        return self._scratch.is_overfull(name, size=self._size, files=self._files)

    def leave(self) -> None:
        if self.path is not None:
            self._scratch.remove()


def _capabilities() -> int:
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)


def _exists(kind: str) -> bool:
    """Is there a NOBODY in our user namespace?"""
    with open(f"/proc/self/{kind}_map") as ranges:
        return any(int(first) <= NOBODY < int(first) + int(count) for first, _, count in map(str.split, ranges))


GROUNDS: dict[str, Callable[[Settings], Ground]] = {"kernel": Namespaces, "kernel-lite": Bare}
