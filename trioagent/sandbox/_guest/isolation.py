"""Isolation backends: a child in namespaces of its own (`Namespaces`), or confined without any (`NoNamespaces`).

Both have the same interface: how a zygote sets up and cleans up, and how a child gets its view of the memory.
Confinement (:mod:`.confine`) follows, and is the same for both, except for what only namespaces can do.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from .confine import held_capabilities, keep_capabilities
from .layers import Listing
from .syscalls import BASE, MOUNTED, PR_SET_PDEATHSIG, ROOT, UPPER_FD, call, libc, prctl
from .views import OverlayView, Scratch, best_place, layered_view, remove_left_behind

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
INNER_ID = 1000  # the user id of a plain user inside: not 0, so that no program takes itself for root


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _identity(kind: str) -> str:
    """A map of every id in this namespace to itself."""
    with open(f"/proc/self/{kind}_map") as current:
        ranges = [line.split() for line in current]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _map_all(pid: int) -> bool:
    """Map all ids of process *pid*'s new user namespace onto themselves; True if that was allowed (root only)."""
    try:
        uids, gids = _identity("uid"), _identity("gid")
        _put(f"/proc/{pid}/uid_map", uids)
        _put(f"/proc/{pid}/gid_map", gids)
    except OSError:
        return False
    return True


def enter_namespaces() -> bool:
    """Move this process into new namespaces; its next child will be process 1 of the new pid namespace.

    Returns:
        True if all ids are mapped (we are root), False if only our own are.

    Raises:
        OSError: if the kernel refuses; the text names the call.
    """
    uid, gid = os.getuid(), os.getgid()  # after unshare both read as "nobody"
    # All ids can be mapped only from outside, by root. A short-lived child stays outside to do it: as root this allows
    # a block to run as the owner of the notes, whoever that is.
    mapper = _start_mapper() if uid == 0 else None
    try:
        call("unshare", NEWUSER | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWNS)
    except BaseException:
        if mapper is not None:
            mapper(False)
        raise
    mapped_all = mapper is not None and mapper(True)
    if not mapped_all:
        _put("/proc/self/setgroups", "deny")
        _put("/proc/self/uid_map", f"{INNER_ID} {uid} 1")
        _put("/proc/self/gid_map", f"{INNER_ID} {gid} 1")
    try:
        call("unshare", NEWCGROUP)
    except OSError:
        pass  # an old kernel, or one without cgroups: a child cannot see them anyway
    libc.sethostname(b"sandbox", 7)
    return mapped_all


def _start_mapper() -> Callable[[bool], bool]:
    """Fork a process that stays in the old namespaces.

    Returns:
        A function that has it map our ids (True) or just exit (False), and returns whether it has mapped them.
    """
    parent = os.getpid()
    ask_read, ask_write = os.pipe()
    say_read, say_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.close(ask_write)
            if os.read(ask_read, 1) == b"y":
                os.write(say_write, b"y" if _map_all(parent) else b"n")
        finally:
            os._exit(0)
    os.close(ask_read)
    os.close(say_write)

    def finish(go: bool) -> bool:
        os.write(ask_write, b"y" if go else b"n")
        os.close(ask_write)
        answer = os.read(say_read, 1)
        os.close(say_read)
        os.waitpid(pid, 0)
        return answer == b"y"

    return finish


def become_init() -> None:
    """Return only in a fork that is process 1 of the new pid namespace; this process waits for it and exits with it."""
    pid = os.fork()
    if pid == 0:
        # The kernel kills every process of a namespace when its process 1 dies, so this one signal ends them all.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    # On a signal, kill process 1 and reap it first: a host that is process 1 of a container, or a subreaper, would
    # otherwise inherit it as a zombie.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    keep_capabilities(0)  # it needs none to wait
    # Nothing of the host may be kept open here: end of file on the control socket must mean that the host is gone.
    call("close_range", 0, 0xFFFFFFFF, 0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


NOBODY = 65534
LAYERED_LANDLOCK = 3
"""Older ABIs do not cover truncation by path, which must be refused if a block can reach the memory itself."""
# By bit, in CapEff of /proc/self/status.
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT = 0, 1, 6, 7, 18

Settings = dict[str, Any]
SetupRequest = dict[str, Any]
Owner = tuple[int, int]


class IsolationBackend(ABC):
    """How one zygote isolates its children.

    Attributes:
        all_ids: we may become another user, so blocks run as one who owns nothing but the view.
        changes_root: a child's root is its view, or in a layered view the memory.
        layered: a child's view is not a mount but two folders, the memory at ROOT and its own layer at BASE.
        keeps_views: a view stays until it is dropped, and has no size limit of its own.
        root: the descriptor of a view's root.
        minimum_landlock: the Landlock ABI without which this backend is not safe.
        step: the name of `set_up` in error messages.
    """

    all_ids: bool
    changes_root: bool
    layered: bool
    keeps_views: bool
    root: int
    minimum_landlock: int
    step: str
    path: str | None = None
    """The folder that contains the views, if there is one."""

    @abstractmethod
    def set_up(self) -> None:
        """Enter namespaces, or create the scratch folder; what runs after this is the zygote.

        Raises:
            OSError: the kernel refuses.
        """

    @abstractmethod
    def prepare(self, name: str) -> str:
        """In the child, make the part of its view that does not depend on the memory; *name* is unique to it.

        Before the call only CHANNEL is in use among the child's descriptors, after it also BASE and UPPER_FD.

        Returns:
            The path at which the block will find the view.
        """

    @abstractmethod
    def view(self, request: SetupRequest) -> Mapping[str, Listing]:
        """In the child, make its view; its root gets the descriptor `root`. Others may stay open.

        Returns:
            For a layered view, the contents of those folders of the memory that cannot be listed later.
        """

    @abstractmethod
    def owner(self, request: SetupRequest) -> Owner | None:
        """The user that a child must become, or None."""

    def own_ids(self) -> Owner | None:
        """The user that the zygote would become to stay the same, if it may become any user."""
        return (os.getuid(), os.getgid()) if self.all_ids else None

    def die_with(self, zygote: int) -> None:  # noqa: B027  # a namespace's process 1 takes all others with it
        """In a child: end when the zygote, process *zygote*, ends."""

    def drop(self, name: str) -> Iterator[None]:
        """In the zygote: remove a view that is no longer needed, if it was made; in steps."""
        return iter(())  # a detached mount is removed with its last descriptor

    def is_overfull(self, name: str) -> Generator[None, None, bool]:
        """In the zygote: whether a running block has written more than it may; checked in steps."""
        yield from ()
        return False  # a mount has a size limit of its own

    def clean_up(self) -> None:  # noqa: B027
        """In the zygote, at the very end: remove everything of ours."""


class Namespaces(IsolationBackend):
    """The ``kernel`` tier: user, pid, network, IPC, UTS, mount and, where there are any, cgroup namespaces.

    One set for the zygote, not one for each child. A pid namespace per child takes a setns, an unshare and a namespace
    to tear down, which costs more than the fork itself, and gains nothing here: a child cannot address its siblings (no
    /proc, and seccomp refuses kill, ptrace, pidfd_open and process_vm_*), has no network or IPC call to reach them by,
    and cannot create descendants. The namespaces isolate it from what is outside: the host's processes, network and
    mounts.
    """

    changes_root, keeps_views, step = True, False, "namespaces"

    def __init__(self, settings: Settings) -> None:
        self._view = OverlayView(size=settings["view_bytes"], files=settings["view_files"])
        self.layered = settings["layered"]
        self.root, self.minimum_landlock = (ROOT, LAYERED_LANDLOCK) if self.layered else (MOUNTED, 1)

    def set_up(self) -> None:
        self.all_ids = enter_namespaces()
        become_init()

    def prepare(self, name: str) -> str:
        self._view.make_upper()
        return "/"

    def view(self, request: SetupRequest) -> Mapping[str, Listing]:
        if self.layered:
            os.dup2(UPPER_FD, BASE, inheritable=False)  # a detached mount: nothing is above it
            return layered_view(request, self.owner(request))
        self._view.mount_overlay(request)
        return {}

    def owner(self, request: SetupRequest) -> Owner | None:
        owner: Owner | None = request["owner"]
        return owner


class NoNamespaces(IsolationBackend):
    """The ``kernel-lite`` tier: it shares the machine's processes and mounts, so the view is layered.

    Landlock and seccomp must refuse here what the mounts and the chroot of the other backend hide, and a block can
    reach the memory itself: Landlock allows only reading there. It must also refuse truncation by path, which it does
        from ABI
    3 on. The limits on what a block writes are looser: they are checked from outside, periodically, and again after its
    end.
    """

    layered, keeps_views, root, minimum_landlock, step = True, True, ROOT, LAYERED_LANDLOCK, "scratch folder"

    def __init__(self, settings: Settings) -> None:
        self._size, self._files = settings["view_bytes"], settings["view_files"]
        self._place = best_place(self._size * settings["parallel"], settings["temporary"])
        held = held_capabilities()
        able = all(held >> wanted & 1 for wanted in (CAP_CHOWN, CAP_SETGID, CAP_SETUID))
        self.all_ids = able and _exists("uid") and _exists("gid")
        # From its layer a child could leave its root by "..", except for a folder in between that only this right
        # opens.
        self.changes_root = bool(held >> CAP_SYS_CHROOT & held >> CAP_DAC_OVERRIDE & 1)

    def set_up(self) -> None:
        # Not SIGKILL as with namespaces: there are views to remove first. See clean_up() and zygote.serve().
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        remove_left_behind(self._place)
        self._scratch = Scratch(self._place)
        self.path = self._scratch.path

    def prepare(self, name: str) -> str:
        container, layer = self._scratch.make(name)
        assert (container, layer) == (ROOT, BASE)  # the lowest free numbers
        if self.changes_root:
            os.fchmod(container, 0o600)
        os.dup2(container, UPPER_FD, inheritable=False)
        os.close(ROOT)
        return "/"

    def view(self, request: SetupRequest) -> Mapping[str, Listing]:
        return layered_view(request, self.owner(request))

    def owner(self, request: SetupRequest) -> Owner | None:
        owner: Owner | None = request["owner"]
        return (NOBODY, NOBODY) if owner is None and self.all_ids else owner

    def die_with(self, zygote: int) -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != zygote:
            os._exit(1)  # it ended before we were tied to it

    def drop(self, name: str) -> Iterator[None]:
        return self._scratch.drop(name)

    def is_overfull(self, name: str) -> Generator[None, None, bool]:
        return self._scratch.is_overfull(name, size=self._size, files=self._files)

    def clean_up(self) -> None:
        if self.path is not None:
            self._scratch.remove()


def _exists(kind: str) -> bool:
    """Is there a NOBODY in our user namespace?"""
    with open(f"/proc/self/{kind}_map") as ranges:
        return any(int(first) <= NOBODY < int(first) + int(count) for first, _, count in map(str.split, ranges))


BACKENDS: dict[str, Callable[[Settings], IsolationBackend]] = {"kernel": Namespaces, "kernel-lite": NoNamespaces}
