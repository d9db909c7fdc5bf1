"""Confines the tool server and the worker as far as this kernel can; on systems other than Linux it does nothing.

========== ================================================= ========================================================
           Landlock                                          seccomp
========== ================================================= ========================================================
worker     opens its own program and libraries only          no writing, processes, sockets, signals; see `filters`
tool server     writes, makes, removes nothing; no TCP; while a   the same, besides no programs
           block runs: reads below its memory only
========== ================================================= ========================================================
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Mapping

from .. import seccomp
from ..confine import READ_DIR, READ_FILE, RIGHTS_BY_ABI, CapabilityHeader, PathBeneath, Ruleset, quiet_flags
from ..seccomp import (
    EQUAL,
    HAS_BITS,
    Answers,
    Filter,
    Instruction,
    Table,
    allow,
    answers_of,
    argument,
    assemble,
    fail,
)
from ..syscalls import MACHINE, PR_CAPBSET_DROP, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, call, prctl

COMMON = """
read write readv writev pread64 lseek close fstat newfstatat statx lstat stat access faccessat faccessat2
brk munmap madvise set_robust_list rseq sched_yield restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack poll ppoll nanosleep gettimeofday time times
getrusage getrlimit getrandom uname getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid
exit exit_group
""".split()
TOOL_SERVER = "getdents64 dup getcwd readlink readlinkat fstatfs fadvise64".split()

WORKERS_OWN: Table = {"execve": (59, 221), "set_tid_address": (218, 96), "arch_prctl": (158, None)}
TOOL_SERVERS_OWN: Table = {
    "recvmsg": (47, 212),
    "sendmsg": (46, 211),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_ctl": (233, 21),
    "wait4": (61, 260),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
OPENAT: Table = {"openat": (257, 56)}
NAME_ONLY: Table = {"prctl": (157, 167)}
THREADS_ONLY: Table = {"clone": (56, 220)}
PLAIN_FILTERS: Table = {"seccomp": (317, 277)}
MMAP: Table = {"mmap": (9, 222)}
MPROTECT: Table = {"mprotect": (10, 226)}

WRITING = 0o3 | 0o100 | 0o1000 | 0o2000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND: the same on both machines
PR_SET_NAME, CLONE_THREAD, MAP_ANONYMOUS = 15, 0x10000, 0x20


def _read_only() -> list[Instruction]:
    return [argument(2), (HAS_BITS, 0, 1, WRITING), fail(errno.EROFS), allow()]


def _name_only() -> list[Instruction]:
    return [argument(0), (EQUAL, 0, 1, PR_SET_NAME), allow(), fail(errno.EPERM)]


def _threads_only() -> list[Instruction]:
    return [argument(0), (HAS_BITS, 0, 1, CLONE_THREAD), allow(), fail(errno.EPERM)]


def _plain_filters() -> list[Instruction]:
    """``seccomp(SECCOMP_SET_MODE_FILTER, 0, _)``: a thread's further filter, which can only refuse more."""
    return [argument(0), (EQUAL, 0, 3, seccomp.SET_FILTER), argument(1), (EQUAL, 0, 1, 0), allow(), fail(errno.EPERM)]


def _code_from_files_only() -> list[Instruction]:
    """The loader maps its libraries; memory that was written cannot become code."""
    return [
        argument(2),
        (HAS_BITS, 0, 3, seccomp.PROT_EXEC),
        argument(3),
        (HAS_BITS, 0, 1, MAP_ANONYMOUS),
        fail(errno.EPERM),
        allow(),
    ]


def rules(*, worker: bool, machine: int) -> Answers:
    """What the filter answers, by call number; anything else fails with EPERM."""
    named = {name: seccomp.NUMBERS[name] for name in (*COMMON, *(() if worker else TOOL_SERVER))}
    no_exec = seccomp.no_exec_memory()
    return answers_of(
        machine,
        (WORKERS_OWN if worker else TOOL_SERVERS_OWN, [allow()]),
        (seccomp.PRIVATE_FUTEX, [allow()]),  # any, since both have threads to wait for
        (OPENAT, _read_only()),
        (NAME_ONLY, _name_only()),
        (THREADS_ONLY, _threads_only()),
        (MMAP, _code_from_files_only() if worker else no_exec),
        (MPROTECT, no_exec),
        (seccomp.COUNTED_GROWTH, [allow()]),
        (seccomp.NO_TERMINAL, [fail(errno.ENOTTY)]),
        (seccomp.HARMLESS_FCNTL, seccomp.harmless_fcntl()),
        (seccomp.MISSING, [fail(errno.ENOSYS)]),
        (seccomp.READ_OWN_LIMITS, seccomp.read_own_limits()),
        (seccomp.COMMON_CLOCKS, seccomp.common_clocks()),
        (seccomp.OWN_PROCESSORS, seccomp.own_processors()),
        (named, [allow()]),
        *(() if worker else ((PLAIN_FILTERS, _plain_filters()),)),
    )


def program(*, worker: bool, machine: int) -> list[Instruction]:
    """The filter for one architecture (``X86_64`` or ``AARCH64``)."""
    return assemble(rules(worker=worker, machine=machine), machine)


def apply(*, worker: bool) -> None:
    """Put the filter on all threads of this process, for good. It needs no_new_privs.

    Raises:
        OSError: this kernel, or what this process runs in, has none.
    """
    if MACHINE is None:
        raise OSError(errno.ENOSYS, "no system call numbers for this machine")
    Filter(program(worker=worker, machine=MACHINE)).apply(all_threads=True)


def no_more_threads() -> Filter:
    """A filter for a thread that runs a block: what the block makes its tools do can start no others."""
    assert MACHINE is not None
    return Filter(without_threads(MACHINE))


def without_threads(machine: int) -> list[Instruction]:
    """`no_more_threads` for one architecture; any other call is for the filters of the whole process to judge."""
    code = [(seccomp.LOAD, 0, 0, seccomp.NUMBER_AT)]
    for number in (THREADS_ONLY["clone"][machine], seccomp.MISSING["clone3"][machine]):
        assert number is not None
        code += [(EQUAL, 0, 1, number), fail(errno.EAGAIN)]
    return [*code, allow()]


EXECUTE = 1 << 0
# Capabilities: to read what belongs to others, and to drop capabilities for good.
DAC_READ_SEARCH, SETPCAP = 1 << 2, 1 << 8


def landlock_abi() -> int:
    """The Landlock ABI of this kernel, 0 for none."""
    try:
        return call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def all_rights(abi: int) -> int:
    return (1 << RIGHTS_BY_ABI[min(abi, len(RIGHTS_BY_ABI) - 1)]) - 1


def restrict(abi: int, handled: int, granted: Mapping[int, int], *, network: bool) -> None:
    """Take the rights *handled* from this thread and those it starts, save for those *granted* below a descriptor.

    Args:
        network: take TCP, abstract sockets and signals to outside as well, as far as *abi* knows them.
    """
    ruleset_size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    wanted = Ruleset(handled, 3 if network and abi >= 4 else 0, 3 if network and abi >= 6 else 0)
    ruleset = call("landlock_create_ruleset", ctypes.byref(wanted), ruleset_size, 0)
    try:
        for descriptor, rights in granted.items():
            rule = PathBeneath(rights & handled, descriptor)
            call("landlock_add_rule", ruleset, 1, ctypes.byref(rule), 0)
        call("landlock_restrict_self", ruleset, quiet_flags(abi))
    finally:
        os.close(ruleset)


def drop_privileges(*, capabilities: int) -> None:
    """Give up dumps, new privileges and all capabilities but those of the bit set *capabilities*."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            if not capabilities >> capability & 1:
                prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one this kernel knows, or we are no root and have none
    effective = capabilities & _permitted()
    words = (ctypes.c_uint32 * 6)(effective, effective, 0, 0, 0, 0)
    call("capset", ctypes.byref(CapabilityHeader(0x20080522, 0)), words)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _permitted() -> int:
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapPrm:")), 0)


def keep_from_writing(abi: int) -> None:
    """The tool server's own Landlock layer: it may read, until a block narrows that, and start the worker."""
    restrict(abi, all_rights(abi) & ~(EXECUTE | READ_FILE | READ_DIR), {}, network=True)


def read_below(abi: int, root: int | None) -> None:
    """From now on this thread opens files below descriptor *root* only, or none at all."""
    granted = {} if root is None else {root: READ_FILE | READ_DIR}
    restrict(abi, EXECUTE | READ_FILE | READ_DIR, granted, network=False)
