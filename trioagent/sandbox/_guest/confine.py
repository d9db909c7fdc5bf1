"""Confine a forked child: chroot, rlimits, Landlock, no capabilities, seccomp, in this order.

The layers are independent: the chroot hides what is outside; Landlock refuses it by path as well, and all network and
special files; seccomp allows no call that could start, signal or inspect a process; and a child without capabilities,
in namespaces without a network, can do nothing outside even if one of them fails.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from . import seccomp
from .syscalls import (
    BASE,
    CHANNEL,
    GRANTS,
    MACHINE,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    ROOT,
    Script,
    call,
    prctl,
)

# Landlock's file system rights, by bit.
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
MAKE_DIR, MAKE_REGULAR, REFER, TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
# What a block may do in its view. Deliberately missing: execute, make devices, sockets, FIFOs or symbolic links, ioctl.
GRANTED = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REGULAR | REFER | TRUNCATE
RIGHTS_BY_ABI = (0, 13, 14, 15, 15, 16)  # how many rights each ABI knows; newer ones add none for files
SECCOMP_GET_ACTION_AVAIL = 2
CAPABILITY_VERSION = 0x20080522
ALL = 0xFFFFFFFF
ROBUST_LIST_BYTES = 24  # of the list head, which is not set
# The capabilities that zygotes need as root, by bit: to give views to the owner of the notes and become that user
# (CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID), to kill children that did (KILL), to drop capabilities (SETPCAP), to
# chroot and to mount (SYS_CHROOT, SYS_ADMIN).
ZYGOTE_CAPABILITIES = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7, 8, 18, 21))


class Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))
    files: int


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))
    allowed: int
    parent: int


def new_ruleset(abi: int) -> tuple[Ruleset, int]:
    """What is refused unless a rule grants it, for ``landlock_create_ruleset``, and that structure's size."""
    handled = (1 << RIGHTS_BY_ABI[min(abi, len(RIGHTS_BY_ABI) - 1)]) - 1
    # Handled and never granted: TCP bind and connect (ABI 4), abstract sockets and signals to outside (ABI 6).
    ruleset = Ruleset(handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    return ruleset, 24 if abi >= 6 else 16 if abi >= 4 else 8


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class Limit(ctypes.Structure):
    _fields_ = (("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64))


class Confinement:
    """The confinement of a child, prepared once, before the forks.

    Args:
        minimum_abi: the required Landlock ABI.
        root: the descriptor of the root.
        chrooted: the child's root is its view, or the memory.
        layered: the view consists of two folders, the memory at ROOT and a layer at BASE, which stay open.

    Raises:
        OSError: Landlock or seccomp is missing or too old; the text names which.
    """

    def __init__(self, *, minimum_abi: int, root: int, chrooted: bool, layered: bool = False) -> None:
        try:
            self.landlock_abi = call("landlock_create_ruleset", None, 0, 1)
        except OSError as error:
            raise OSError(error.errno, f"no Landlock here ({error.strerror})") from None
        if self.landlock_abi < minimum_abi:
            raise OSError(errno.ENOSYS, f"Landlock here has ABI {self.landlock_abi}, {minimum_abi} is needed")
        try:
            call("seccomp", SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(seccomp.RET_KILL)))
        except OSError as error:
            raise OSError(error.errno, f"no seccomp filters here ({error.strerror})") from None
        self._ruleset, self._ruleset_size = new_ruleset(self.landlock_abi)
        self._granted = GRANTED & self._ruleset.files
        self._layered = layered
        assert MACHINE is not None  # otherwise the calls above would have failed
        self._filter = seccomp.Filter(seccomp.program(MACHINE, chrooted=chrooted))
        self._limits, self._all_readable = Script(), Script()
        self._rehearsed = False
        self._ruleset_fd = (BASE if layered else ROOT) + 1
        assert self._ruleset_fd < GRANTS
        self._enter, self._enter_with_grants = (self._entering(root, chrooted, grants) for grants in (False, True))

    def _entering(self, root: int, chrooted: bool, grants: bool) -> Script:
        script = Script()
        # Of the child's descriptors, only its socket and its view of the notes stay open.
        if root != ROOT:
            script.add("dup3", root, ROOT, os.O_CLOEXEC, result=ROOT)
        if grants:
            script.add("close_range", self._ruleset_fd, GRANTS - 1, 0, final=True)
        script.add("close_range", GRANTS + 1 if grants else self._ruleset_fd, ALL, 0, final=True)
        script.add("fchdir", ROOT)
        if chrooted:
            script.add("chroot", b".")
            script.add("chdir", b"/")
        return script

    def drop_privileges(self) -> None:
        """Drop, in the zygote, what no child ever needs; forks inherit it."""
        prctl(PR_SET_DUMPABLE, 0)  # no core, no ptrace, no reading of /proc/PID by others of the same user
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        for capability in range(64):
            try:
                prctl(PR_CAPBSET_DROP, capability)
            except OSError:
                break  # the kernel knows no more capabilities
        keep_capabilities(ZYGOTE_CAPABILITIES)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def prepare(self, *, cpu: int, file_size: int, descriptors: int, start: bytes) -> None:
        """Prepare the calls of `confine`, except for `limit_memory`.

        Args:
            cpu: CPU seconds; SIGXCPU ends the child there, SIGKILL one second later if that was ignored.
            file_size: the largest size of a file.
            descriptors: the most descriptors.
            start: the byte that the child sends when it is confined.
        """
        self._memory = Limit()
        limits = {
            resource.RLIMIT_CPU: (cpu, cpu + 1),
            resource.RLIMIT_FSIZE: (file_size, file_size),
            resource.RLIMIT_NPROC: (0, 0),
            resource.RLIMIT_NOFILE: (descriptors, descriptors),
            resource.RLIMIT_MEMLOCK: (0, 0),
            resource.RLIMIT_MSGQUEUE: (0, 0),
        }
        script = self._limits
        script.add("prlimit64", 0, resource.RLIMIT_AS, self._memory, 0, final=True)
        for kind, (soft, hard) in limits.items():  # hard as well, so that the child cannot raise them again
            script.add("prlimit64", 0, kind, Limit(at_most(kind, soft), at_most(kind, hard)), 0, final=True)
        ruleset = self._ruleset_fd
        script.add("landlock_create_ruleset", self._ruleset, self._ruleset_size, 0, result=ruleset, final=True)
        script.add("landlock_add_rule", ruleset, 1, PathBeneath(self._granted, ruleset - 1), 0, final=True)
        rights = READ_FILE | READ_DIR
        self._all_readable.add("landlock_add_rule", ruleset, 1, PathBeneath(rights, ROOT), 0, final=True)
        self._confine, self._confine_with_grants = (self._confining(start, grants) for grants in (False, True))

    def _confining(self, start: bytes, grants: bool) -> Script:
        script = Script()
        # Its id may have changed, which makes a process dumpable again.
        script.add("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        # The kernel writes to the list's futexes when the process exits; a block must not choose these addresses.
        script.add("set_robust_list", 0, ROBUST_LIST_BYTES)
        # Each layer copies those before it: so the one with thousands of rules is the last.
        for ruleset in (self._ruleset_fd, GRANTS) if grants else (self._ruleset_fd,):
            script.add("landlock_restrict_self", ruleset, quiet_flags(self.landlock_abi), final=True)
        script.add("close_range", self._ruleset_fd if self._layered else ROOT, ALL, 0, final=True)
        script.add("capset", CapabilityHeader(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)(), final=True)
        script.add("seccomp", seccomp.SET_FILTER, 0, self._filter.program, final=True)
        script.add("write", CHANNEL, start, len(start), result=len(start))
        return script

    def limit_memory(self, size: int) -> None:
        """Limit a child's address space to *size* bytes in all."""
        self._memory.soft = self._memory.hard = at_most(resource.RLIMIT_AS, size)

    @contextmanager
    def rehearsed(self) -> Iterator[None]:
        """Inside the block, `enter`, `become` and `confine` do only what can be undone."""
        self._rehearsed = True
        with self._enter.rehearsed(), self._limits.rehearsed(), self._confine.rehearsed():
            try:
                yield
            finally:
                self._rehearsed = False

    def enter(self, *, grants: bool = False) -> None:
        """In a child: go into the view, and close all that is open besides, but for GRANTS where there are any."""
        (self._enter_with_grants if grants else self._enter).run()

    def become(self, owner: tuple[int, int]) -> None:
        """In a child: run as the owner of the notes (only if we may become any user)."""
        uid, gid = owner
        groups: list[int] = []
        if self._rehearsed:
            uid, gid, groups = os.getuid(), os.getgid(), os.getgroups()
        try:
            os.setgroups(groups)
        except PermissionError:
            pass  # "deny" in /proc/self/setgroups: then there are no groups to drop
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    def confine(
        self, *, spared: int = 0, readable: Iterable[tuple[str, bool]] | None = (), grants: bool = False
    ) -> None:
        """In a child: set limits, Landlock and seccomp, drop all capabilities, and send CONFINED.

        Args:
            spared: bytes of address space that we have mapped, which do not count against the block.
            readable: the readable paths of the memory in a layered view, relative to the current folder, with True for
                folders; None: all of it.
            grants: of that only what the ruleset at GRANTS grants as well.
        """
        if spared:
            self._memory.soft = self._memory.hard = at_most(resource.RLIMIT_AS, self._memory.hard + spared)
        self._limits.run()
        if readable is None:
            self._all_readable.run()
        else:
            for path, is_folder in readable:
                self._allow_reading(path, is_folder)
        (self._confine_with_grants if grants else self._confine).run()

    def _allow_reading(self, path: str, is_folder: bool) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            return  # removed since it was listed
        try:
            rights = READ_FILE | READ_DIR if is_folder else READ_FILE
            call("landlock_add_rule", self._ruleset_fd, 1, ctypes.byref(PathBeneath(rights, place)), 0)
        finally:
            os.close(place)


def at_most(kind: int, wanted: int) -> int:
    """*wanted*, or the hard limit of this process if that is lower (``ulimit``)."""
    _, hard = resource.getrlimit(kind)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def set_limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit of this process, which may be lower than requested: see `at_most`."""
    resource.setrlimit(kind, (at_most(kind, soft), at_most(kind, soft if hard is None else hard)))


def keep_capabilities(kept: int) -> None:
    """Drop all capabilities of this process except those in *kept*, if it has them."""
    left = held_capabilities() & kept
    low, high = left & 0xFFFFFFFF, left >> 32
    call(
        "capset", ctypes.byref(CapabilityHeader(CAPABILITY_VERSION, 0)), (ctypes.c_uint32 * 6)(low, low, 0, high, high)
    )


def held_capabilities() -> int:
    """The effective capabilities of this process, by bit."""
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)


def quiet_flags(abi: int) -> int:
    """Flags of landlock_restrict_self: keep refused calls out of the system's audit log, if the ABI allows that."""
    return 1 | 4 if abi >= 7 else 0  # LOG_SAME_EXEC_OFF, LOG_SUBDOMAINS_OFF


def address_space() -> int:
    """The bytes of address space that this process has mapped."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
