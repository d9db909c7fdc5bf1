"""A child's seccomp filter: an allow-list as a classic BPF program, for x86_64 and aarch64.

Calls that are not listed fail with EPERM. A foreign calling convention (32-bit, x32) kills the process, since its
numbers mean other calls. The kernel caches in a bitmap which calls this program always allows, so these cost almost
nothing.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from .syscalls import X86_64, call

# name: (x86_64, aarch64); None where an architecture has no such call.
Table = dict[str, tuple[int | None, int | None]]
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
Answers = dict[int, list[Instruction]]  # the filter's code for a call, by its number

AUDIT_ARCH = (0xC000003E, 0xC00000B7)
X32_BIT = 0x40000000
LOAD, EQUAL, AT_LEAST, HAS_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
RET_KILL, RET_ALLOW = 0x80000000, 0x7FFF0000
# Offsets in struct seccomp_data: number, architecture, instruction pointer, then six 64-bit arguments, low word first.
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
SET_FILTER, _ALL_THREADS = 1, 1


def _load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def _ret(value: int) -> Instruction:
    return (RETURN, 0, 0, value)


def allow() -> Instruction:
    return _ret(RET_ALLOW)


def fail(number: int) -> Instruction:
    """Return without effect: with this error, or with success if it is 0."""
    return _ret(0x00050000 | number)


def argument(index: int, *, high: bool = False) -> Instruction:
    """Load one half of an argument for the comparisons that follow."""
    return _load(ARGUMENTS_AT + 8 * index + (4 if high else 0))


def answers_of(machine: int, *answers: tuple[Table, list[Instruction]]) -> Answers:
    """For each call of a table that *machine* has, the answer given with it; later tables take precedence."""
    return {
        number: body
        for table, body in answers
        for number in (numbers[machine] for numbers in table.values())
        if number is not None
    }


def assemble(answers: Answers, machine: int) -> list[Instruction]:
    """The filter for one architecture (``X86_64`` or ``AARCH64``); calls without an answer fail with EPERM.

    A binary search over ranges of call numbers: when a filter is installed, the kernel runs it for each existing
        number,
    which takes too long with sequential comparisons.
    """
    code = [_load(ARCH_AT), (EQUAL, 1, 0, AUDIT_ARCH[machine]), _ret(RET_KILL), _load(NUMBER_AT)]
    if machine == X86_64:
        code += [(AT_LEAST, 0, 1, X32_BIT), _ret(RET_KILL)]
    runs: list[tuple[int, list[Instruction]]] = []  # the first number of each range of calls with the same answer
    for number in range(max(answers) + 2):  # one more than the last: refused, as are all above it
        body = answers.get(number, [fail(errno.EPERM)])
        if not runs or runs[-1][1] != body:
            runs.append((number, body))
    return code + _search(runs)


def _search(runs: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    below = _search(runs[:middle])
    return [(AT_LEAST, len(below), 0, runs[middle][0]), *below, *_search(runs[middle:])]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """An assembled filter, ready to be installed."""

    def __init__(self, code: list[Instruction]) -> None:
        packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
        self._buffer = ctypes.create_string_buffer(packed, len(packed))
        self.program = _Program(len(packed) // 8, ctypes.addressof(self._buffer))

    def apply(self, *, all_threads: bool = False) -> None:
        """Install the filter for this thread, or for all threads of its process, permanently. Needs no_new_privs.

        Raises:
            OSError: this kernel or container does not support it.
        """
        call("seccomp", SET_FILTER, _ALL_THREADS if all_threads else 0, ctypes.byref(self.program))


ALLOWED: Table = {
    # files: all of them are subject to the chroot, and to Landlock where it applies
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "creat": (85, None),
    "close": (3, 57),
    "dup": (32, 23),
    "fstat": (5, 80),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "getdents64": (217, 61),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "umask": (95, 166),
    "sendfile": (40, 71),  # shutil.copyfile
    # memory and the interpreter's own upkeep
    "brk": (12, 214),
    "munmap": (11, 215),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    # waiting and clocks
    "poll": (7, None),
    "ppoll": (271, 73),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getrandom": (318, 278),
    "uname": (63, 160),
    "exit": (60, 93),
    "exit_group": (231, 94),
}

# Success without effect: shutil.copy, copytree and Path.touch continue, and no mode, owner or time of any file changes.
# Files are not locked either: a view has one user, and a lock on a file that all children share (/dev/null) would
# outlive its block. Advice on files would affect pages of the memory and of programs, which all children share.
IGNORED: Table = {
    "fadvise64": (221, 223),
    "flock": (73, 32),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}

# "Not supported on this file system", which callers handle.
UNSUPPORTED: Table = {
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}

# "Old kernel": the C library then tries the older call, which is refused.
# There are no threads that need robust futexes, and the free space of the machine's file systems is none of its
# business.
MISSING: Table = {
    "clone3": (435, 435),
    "set_robust_list": (273, 99),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
}

# The answer is always 0: a process id would reveal how many other blocks ran, a user id would identify somebody.
CONSTANT: Table = {
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
}
# The same, but these would write their answers to memory: refused, like all that is not listed.
REFUSED_IDS: Table = {"getresuid": (118, 148), "getresgid": (120, 150)}

# No ioctl ever reaches the kernel; open() expects "not a terminal".
NO_TERMINAL: Table = {"ioctl": (16, 29)}

# Allowed for some arguments only, see the functions below.
COUNTED_MEMORY: Table = {"mmap": (9, 222)}
COUNTED_GROWTH: Table = {"mremap": (25, 216)}
NO_EXEC_MEMORY: Table = {"mprotect": (10, 226)}
HARMLESS_FCNTL: Table = {"fcntl": (72, 25)}
READ_OWN_LIMITS: Table = {"prlimit64": (302, 261)}
NO_WHITEOUT: Table = {"renameat2": (316, 276)}
PRIVATE_FUTEX: Table = {"futex": (202, 98)}
COMMON_CLOCKS: Table = {"clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115)}
OWN_PROCESSORS: Table = {"sched_getaffinity": (204, 123)}
PLAIN_OPEN: Table = {"open": (2, None)}
PLAIN_OPENAT: Table = {"openat": (257, 56)}
PRIVATE_ADVICE: Table = {"madvise": (28, 233)}

TABLES = (
    ALLOWED,
    CONSTANT,
    REFUSED_IDS,
    PLAIN_OPEN,
    PLAIN_OPENAT,
    PRIVATE_ADVICE,
    IGNORED,
    UNSUPPORTED,
    MISSING,
    NO_TERMINAL,
    COUNTED_MEMORY,
    COUNTED_GROWTH,
    NO_EXEC_MEMORY,
    HARMLESS_FCNTL,
    READ_OWN_LIMITS,
    NO_WHITEOUT,
    PRIVATE_FUTEX,
    COMMON_CLOCKS,
    OWN_PROCESSORS,
)

# Also refused if the child's root is not its view: they reveal facts about files outside that Landlock does not
# protect. Callers of readlink handle "not a link"; a view has none, unless the memory has one.
WITHOUT_CHROOT = {"readlink": errno.EINVAL, "readlinkat": errno.EINVAL}

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW, F_DUPFD_CLOEXEC: none of
# them names another process (F_SETOWN would direct signals to one, F_GETLK reveals who holds a lock).
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 6, 7, 37, 38, 1030)
# In a child that runs a block, F_SETFL, F_SETLK, F_SETLKW, F_OFD_SETLK and F_OFD_SETLKW succeed without effect: flags
# and such locks belong to an open file, and standard input is shared by all children, earlier and later ones.
FCNTL_IGNORED = (4, 6, 7, 37, 38)

PROT_EXEC = 4
MAP_SHARED, MAP_ANONYMOUS = 1, 0x20
# MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_NORESERVE, MAP_POPULATE, MAP_STACK
MAP_USUAL = 0x1 | 0x2 | 0x20 | 0x800 | 0x1000 | 0x4000 | 0x8000 | 0x20000
# FUTEX_WAIT, _WAKE, _REQUEUE, _CMP_REQUEUE, _WAKE_OP, _WAIT_BITSET and _WAKE_BITSET, by either clock
FUTEX_OPERATIONS = tuple(128 | clock | operation for operation in (0, 1, 3, 4, 5, 9, 10) for clock in (0, 256))
# MADV_NORMAL, _RANDOM, _SEQUENTIAL, _WILLNEED, _DONTNEED, _FREE, _DONTFORK, _DOFORK, _HUGEPAGE, _NOHUGEPAGE, _DONTDUMP,
# _DODUMP: others affect pages that all children share (_COLD, _PAGEOUT, _COLLAPSE), or make uncounted page tables.
ADVICE = (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17)
MREMAP_MAYMOVE = 1
RENAME_NOREPLACE = 1
# O_ASYNC, O_NOATIME, O_PATH, O_TMPFILE and all newer ones; O_DIRECT is a different bit on each machine.
OPEN_UNUSUAL = 0x2000 | 0x40000 | 0xFFE00000
O_DIRECT = (0x4000, 0x10000)
CLOCKS = 16  # the kernel's numbered clocks are below; all others refer to a process, a thread or a device


def no_exec_memory() -> list[Instruction]:
    return [argument(2), (HAS_BITS, 0, 1, PROT_EXEC), fail(errno.EPERM), allow()]


def _counted_memory() -> list[Instruction]:
    """Allow only memory that RLIMIT_AS bounds: private memory and mapped files, at an address that the kernel chooses.

    Shared anonymous pages stay allocated when all of their mapping but one page is gone, huge pages come from another
    pool, and single pages at addresses far apart need up to three page tables each; none of that is counted. All are
    refused as if no memory were left, which callers handle, and so is every unusual flag.
    """
    refuse = fail(errno.ENOMEM)
    return [
        argument(2),
        (HAS_BITS, 0, 1, PROT_EXEC),
        fail(errno.EPERM),
        argument(0),
        (EQUAL, 0, 8, 0),
        argument(0, high=True),
        (EQUAL, 0, 6, 0),
        argument(3),
        (HAS_BITS, 4, 0, ~MAP_USUAL & 0xFFFFFFFF),
        (HAS_BITS, 0, 2, MAP_ANONYMOUS),
        (HAS_BITS, 2, 0, MAP_SHARED),
        allow(),
        allow(),
        refuse,
    ]


def _counted_growth() -> list[Instruction]:
    """Growing where the kernel finds room, not to an address of the block's choice (MREMAP_FIXED, _DONTUNMAP)."""
    return [argument(3), (HAS_BITS, 0, 1, ~MREMAP_MAYMOVE & 0xFFFFFFFF), fail(errno.ENOMEM), allow()]


def harmless_fcntl() -> list[Instruction]:
    return _one_of(1, FCNTL_COMMANDS, errno.EPERM)


def _traceless_fcntl() -> list[Instruction]:
    tests = [(EQUAL, 0, 1, command) for command in FCNTL_IGNORED]
    return [argument(1), *(step for test in tests for step in (test, fail(0))), *harmless_fcntl()]


def read_own_limits() -> list[Instruction]:
    """``prlimit64(0, _, NULL, _)``: read the limits of this process."""
    return [
        argument(0),
        (EQUAL, 0, 4, 0),
        argument(2),
        (EQUAL, 0, 2, 0),
        argument(2, high=True),
        (EQUAL, 1, 0, 0),
        fail(errno.EPERM),
        allow(),
    ]


def _no_whiteout() -> list[Instruction]:
    """No flag except RENAME_NOREPLACE: RENAME_WHITEOUT creates a device node, which some file systems allow anybody."""
    return [argument(4), (HAS_BITS, 0, 1, ~RENAME_NOREPLACE & 0xFFFFFFFF), fail(errno.EINVAL), allow()]


def _one_of(index: int, values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    """Allowed if an argument has one of these values."""
    tests = [(EQUAL, len(values) - number, 0, value) for number, value in enumerate(values)]
    return [argument(index), *tests, fail(otherwise), allow()]


def _private_futex() -> list[Instruction]:
    """Only futexes private to the process, as locks are: others could wake a waiter in another child, on a shared page
    of the program's file."""
    return _one_of(1, FUTEX_OPERATIONS, errno.EPERM)


def _private_advice() -> list[Instruction]:
    return _one_of(2, ADVICE, errno.EINVAL)


def _plain_open(index: int, machine: int) -> list[Instruction]:
    """Files and folders without special flags; the flags are the argument at *index*."""
    return [argument(index), (HAS_BITS, 0, 1, OPEN_UNUSUAL | O_DIRECT[machine]), fail(errno.EINVAL), allow()]


def common_clocks() -> list[Instruction]:
    """The system-wide clocks: by other clocks the CPU time of another process can be read."""
    return [argument(0), (AT_LEAST, 0, 1, CLOCKS), fail(errno.EINVAL), allow()]


def own_processors() -> list[Instruction]:
    """Only this process, as 0: for any other the answer reveals whether such a process exists."""
    return [argument(0), (EQUAL, 1, 0, 0), fail(errno.EPERM), allow()]


NUMBERS: Table = {name: numbers for table in TABLES for name, numbers in table.items()}
"""All of them."""


def program(machine: int, *, chrooted: bool = True) -> list[Instruction]:
    """The filter for one architecture (``X86_64`` or ``AARCH64``)."""
    answers = answers_of(
        machine,
        (ALLOWED, [allow()]),
        (CONSTANT, [fail(0)]),
        (REFUSED_IDS, [fail(errno.EPERM)]),
        (PLAIN_OPEN, _plain_open(1, machine)),
        (PLAIN_OPENAT, _plain_open(2, machine)),
        (PRIVATE_ADVICE, _private_advice()),
        (COUNTED_MEMORY, _counted_memory()),
        (COUNTED_GROWTH, _counted_growth()),
        (NO_EXEC_MEMORY, no_exec_memory()),
        (NO_TERMINAL, [fail(errno.ENOTTY)]),
        (HARMLESS_FCNTL, _traceless_fcntl()),
        (IGNORED, [fail(0)]),
        (UNSUPPORTED, [fail(errno.ENOTSUP)]),
        (MISSING, [fail(errno.ENOSYS)]),
        (READ_OWN_LIMITS, read_own_limits()),
        (NO_WHITEOUT, _no_whiteout()),
        (PRIVATE_FUTEX, _private_futex()),
        (COMMON_CLOCKS, common_clocks()),
        (OWN_PROCESSORS, own_processors()),
    )
    return assemble(answers if chrooted else answers | _without_chroot(machine), machine)


def _without_chroot(machine: int) -> Answers:
    refused = (({name: ALLOWED[name]}, [fail(number)]) for name, number in WITHOUT_CHROOT.items())
    return answers_of(machine, *refused)
