"""The system call filters of worker and keeper: allow-lists in the manner of the kernel tier's, over its tables.

Neither may write, make or remove a file, start a program or process, open a socket, or signal anybody. The worker's
filter is put on before its program starts, so one ``execve`` must be left: Landlock then allows no other program.
"""

from __future__ import annotations

import errno

from .. import seccomp
from ..bpf import (
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
from ..syscalls import MACHINE

COMMON = """
read write readv writev pread64 lseek close fstat newfstatat statx lstat stat access faccessat faccessat2
brk munmap mremap madvise set_robust_list rseq sched_yield restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack poll ppoll nanosleep gettimeofday time times
getrusage getrlimit getrandom uname getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid
exit exit_group
""".split()
KEEPER = "getdents64 dup getcwd readlink readlinkat fstatfs fadvise64".split()

WORKERS_OWN: Table = {"execve": (59, 221), "set_tid_address": (218, 96), "arch_prctl": (158, None)}
KEEPERS_OWN: Table = {
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
    named = {name: seccomp.ALLOWED[name] for name in (*COMMON, *(() if worker else KEEPER))}
    no_exec = seccomp.no_exec_memory()
    return answers_of(
        machine,
        (named, [allow()]),
        (WORKERS_OWN if worker else KEEPERS_OWN, [allow()]),
        (seccomp.PRIVATE_FUTEX, [allow()]),  # any, since both have threads to wait for
        (OPENAT, _read_only()),
        (NAME_ONLY, _name_only()),
        (THREADS_ONLY, _threads_only()),
        (MMAP, _code_from_files_only() if worker else no_exec),
        (MPROTECT, no_exec),
        (seccomp.NO_TERMINAL, [fail(errno.ENOTTY)]),
        (seccomp.HARMLESS_FCNTL, seccomp.harmless_fcntl()),
        (seccomp.MISSING, [fail(errno.ENOSYS)]),
        (seccomp.READ_OWN_LIMITS, seccomp.read_own_limits()),
        (seccomp.COMMON_CLOCKS, seccomp.common_clocks()),
        (seccomp.OWN_PROCESSORS, seccomp.own_processors()),
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
