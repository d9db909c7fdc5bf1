"""What the zygote and its children stand on: namespaces of their own, or, where there are none, the machine as it is.

Both grounds offer the same: how a zygote settles in and leaves, and how a child gets its view of the memory. The walls
that are put up after that (:mod:`.confine`) are the same on both, save for what only namespaces can do.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from . import namespaces
from .copying import FOLDER, new_digest
from .descriptors import BASE, MOUNTED, ROOT, TOLD
from .scratch import Scratch, best_place, remove_left_behind
from .syscalls import PR_SET_PDEATHSIG, prctl
from .view import View, open_memory

NOBODY = 65534
# By bit, in CapEff of /proc/self/status.
CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT = 0, 6, 7, 18

Settings = dict[str, Any]
Order = dict[str, Any]
Owner = tuple[int, int]


class Ground(ABC):
    """One zygote's ground.

    Attributes:
        all_ids: we may become another user, so blocks run as one who owns nothing but the view.
        changes_root: a child's root is its view.
        keeps_views: a view stays until it is dropped, and has no size of its own.
        root: the descriptor that a view's root will have.
        minimum_landlock: the Landlock ABI without which this ground is not safe.
        step: what `settle` is called in error messages.
    """

    all_ids: bool
    changes_root: bool
    keeps_views: bool
    root: int
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
    def prepare(self, name: str) -> str:
        """Make, in the child, what of its view does not depend on the memory; *name* is unique to it.

        Of the child's own descriptors only CHANNEL is in use before, and BASE and TOLD besides after it.

        Returns:
            The path at which the block will find the view.
        """

    @abstractmethod
    def view(self, order: Order) -> None:
        """Make a child's view, in the child; its root gets the descriptor `root`. Others may stay open."""

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

    changes_root, keeps_views, root, minimum_landlock, step = True, False, MOUNTED, 1, "namespaces"

    def __init__(self, settings: Settings) -> None:
        self._view = View(size=settings["view_bytes"], files=settings["view_files"])

    def settle(self) -> None:
        self.all_ids = namespaces.enter()
        namespaces.become_init()

    def prepare(self, name: str) -> str:
        self._view.make_upper()
        return "/"

    def view(self, order: Order) -> None:
        self._view.lay_over(order)

    def owner(self, order: Order) -> Owner | None:
        owner: Owner | None = order["owner"]
        return owner


class Bare(Ground):
    """The ``kernel-lite`` tier: the machine's own processes and mounts, so the view is a copy of the memory.

    What the mounts and the chroot of the other ground hide, Landlock and seccomp must refuse here. Truncating by path
    is among that, which Landlock knows from ABI 3 on. The limits on what a block writes are looser: they are looked
    after from outside, now and then, and checked once it has ended.
    """

    keeps_views, root, minimum_landlock, step = True, BASE, 3, "scratch folder"

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
        new_digest()  # imported now, for the children
        # A child that becomes someone else finds its view by path, unless that is its root.
        self._scratch = Scratch(self._place, passable=self.all_ids and not self.changes_root)
        self.path = self._scratch.path

    def prepare(self, name: str) -> str:
        around, root, path = self._scratch.make(name)
        assert (around, root) == (ROOT, BASE)  # the lowest numbers that were free
        os.dup2(around, TOLD, inheritable=False)
        os.close(ROOT)
        return "/" if self.changes_root else path

    def view(self, order: Order) -> None:
        readable = None
        if order["memory"] is not None:
            readable = os.open(".", FOLDER, dir_fd=open_memory(order))
        self._scratch.fill(TOLD, BASE, readable, self.owner(order))

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
