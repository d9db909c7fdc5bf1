"""The filter's tables, for both architectures, and the program made of them."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from trioagent.sandbox._guest import seccomp, syscalls
from trioagent.sandbox._guest.syscalls import AARCH64, X86_64

from . import aarch64_numbers

GENERIC = "/usr/include/asm-generic/unistd.h"
ALLOW, KILL = 0x7FFF0000, 0x80000000
# Calls that only the older architecture has; each has a newer form, which both have.
OLD_ONLY = {
    "open": "openat", "creat": "openat", "stat": "newfstatat", "lstat": "newfstatat", "access": "faccessat",
    "readlink": "readlinkat", "mkdir": "mkdirat", "rmdir": "unlinkat", "unlink": "unlinkat", "rename": "renameat",
    "poll": "ppoll", "time": "clock_gettime", "chmod": "fchmodat", "chown": "fchownat", "lchown": "fchownat",
    "utime": "utimensat", "utimes": "utimensat", "futimesat": "utimensat",
}  # fmt: skip


def evaluate(
    machine: int, number: int, arguments: tuple[int, ...] = (), audit: int | None = None, *, chrooted: bool = True
) -> int:
    """Run the filter on one call, as the kernel does."""
    words = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, seccomp.AUDIT_ARCH[machine] if audit is None else audit, 0, *words)
    code = seccomp.program(machine, chrooted=chrooted)
    at = value = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case seccomp.LOAD:
                (value,) = struct.unpack_from("=I", data, operand)
            case seccomp.RETURN:
                return operand
            case seccomp.EQUAL:
                at += if_true if value == operand else if_false
            case seccomp.AT_LEAST:
                at += if_true if value >= operand else if_false
            case seccomp.HAS_BITS:
                at += if_true if value & operand else if_false
            case _:
                raise AssertionError(operation)


def fails(number: int) -> int:
    return 0x00050000 | number


BOTH = pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=["x86_64", "aarch64"])


def test_both_architectures_allow_the_same() -> None:
    names = {name: numbers for table in seccomp.TABLES for name, numbers in table.items()}
    assert sum(map(len, seccomp.TABLES)) == len(names)
    assert {name for name, (_, new) in names.items() if new is None} == set(OLD_ONLY)
    assert all(names[newer][AARCH64] is not None for newer in OLD_ONLY.values())
    for machine in (X86_64, AARCH64):
        numbers = [pair[machine] for pair in names.values() if pair[machine] is not None]
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        (X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (X86_64, "/usr/include/asm/unistd_64.h"),
        (AARCH64, GENERIC),
    ],
)
def test_numbers_are_the_kernels(machine: int, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed here")
    defined = numbers_in(header)
    for table in (*seccomp.TABLES, syscalls.OWN_CALLS):
        for name, numbers in table.items():
            if numbers[machine] is not None and name in defined:
                assert numbers[machine] == defined[name], name


def numbers_in(header: str) -> dict[str, int]:
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    defined = {name: int(number) for name, number in found}
    defined.setdefault("newfstatat", defined.get("fstatat", -1))
    return defined


def test_arm_numbers_are_the_kernels_on_any_machine() -> None:
    """Against a copy of the header's numbers, and where the header is installed, that copy against it."""
    ours = {
        name: numbers[AARCH64]
        for table in (*seccomp.TABLES, syscalls.OWN_CALLS)
        for name, numbers in table.items()
        if numbers[AARCH64] is not None
    }
    # Younger than some kernels' headers: its number is the same on all architectures.
    assert ours.pop("fchmodat2") == seccomp.IGNORED["fchmodat2"][X86_64] == 452
    listed = {name: number for name, number in aarch64_numbers.NUMBERS.items() if name != "fchmodat2"}
    assert ours == listed
    if Path(GENERIC).exists():
        defined = numbers_in(GENERIC)
        assert {name: defined.get(name, number) for name, number in listed.items()} == listed


@BOTH
def test_only_what_is_listed_is_allowed(machine: int) -> None:
    by_number = {numbers[machine]: name for table in seccomp.TABLES for name, numbers in table.items()}
    plain = {numbers[machine] for numbers in seccomp.ALLOWED.values()}
    for number in range(600):
        answer = evaluate(machine, number, (0xFFFF_FFFF, 2**64 - 129, 0xFFFF_FFFF, 2, 0xFFFF_FFFF))
        if number in plain:
            assert answer == ALLOW
        elif number not in by_number:
            assert answer == fails(errno.EPERM)
        else:
            assert answer != ALLOW, by_number[number]


@BOTH
def test_arguments_are_judged(machine: int) -> None:
    def answer(table: seccomp.Table, name: str, *arguments: int) -> int:
        number = table[name][machine]
        assert number is not None
        return evaluate(machine, number, arguments)

    assert answer(seccomp.NO_EXEC_MEMORY, "mprotect", 0, 4096, 3) == ALLOW
    assert answer(seccomp.NO_EXEC_MEMORY, "mprotect", 0, 4096, 5) == fails(errno.EPERM)
    for address, protection, flags, expected in (
        (0, 3, 0x22, ALLOW),  # private memory
        (0, 0, 0x4022, ALLOW),  # reserved
        (0, 3, 0x20022, ALLOW),  # a stack
        (0, 1, 0x01, ALLOW),  # a file, shared
        (0, 3, 0x02, ALLOW),  # a file, private
        (0, 5, 0x22, fails(errno.EPERM)),  # code
        (0, 3, 0x21, fails(errno.ENOMEM)),  # shared and anonymous
        (0, 3, 0x23, fails(errno.ENOMEM)),  # the same, validated
        (0, 3, 0x40022, fails(errno.ENOMEM)),  # huge pages
        (0, 3, 0x32, fails(errno.ENOMEM)),  # at an address
        (0, 3, 0x100022, fails(errno.ENOMEM)),
        (1 << 40, 3, 0x22, fails(errno.ENOMEM)),  # near an address
        (4096, 1, 0x01, fails(errno.ENOMEM)),
        (0, 3, 0x2022, fails(errno.ENOMEM)),  # locked
        (0, 3, 0x122, fails(errno.ENOMEM)),  # growing down
        (0, 3, 0x62, fails(errno.ENOMEM)),  # in the lowest addresses
        (0, 3, 0x28, fails(errno.ENOMEM)),  # that may be dropped
        (0, 3, 0x80003, fails(errno.ENOMEM)),  # in step with a device
    ):
        assert answer(seccomp.COUNTED_MEMORY, "mmap", address, 4096, protection, flags, 2**64 - 1) == expected
    for flags, expected in (
        (0, ALLOW),
        (1, ALLOW),
        (2, fails(errno.ENOMEM)),
        (3, fails(errno.ENOMEM)),
        (5, fails(errno.ENOMEM)),
    ):
        assert answer(seccomp.COUNTED_GROWTH, "mremap", 4096, 4096, 8192, flags) == expected
    for command in seccomp.FCNTL_COMMANDS:
        expected = fails(0) if command in seccomp.FCNTL_IGNORED else ALLOW
        assert answer(seccomp.HARMLESS_FCNTL, "fcntl", 3, command) == expected
    for command in (5, 8, 9, 10, 11, 15, 36, 1024, 1031, 1033):
        assert answer(seccomp.HARMLESS_FCNTL, "fcntl", 3, command) == fails(errno.EPERM)
    assert answer(seccomp.READ_OWN_LIMITS, "prlimit64", 0, 7, 0, 12345) == ALLOW
    for arguments in ((1, 7, 0, 0), (0, 7, 1, 0), (0, 7, 1 << 32, 0)):
        assert answer(seccomp.READ_OWN_LIMITS, "prlimit64", *arguments) == fails(errno.EPERM)
    assert answer(seccomp.NO_TERMINAL, "ioctl", 0, 0x5401) == fails(errno.ENOTTY)
    for flags, expected in ((0, ALLOW), (1, ALLOW), (2, fails(errno.EINVAL)), (4, fails(errno.EINVAL))):
        assert answer(seccomp.NO_WHITEOUT, "renameat2", 0, 0, 0, 0, flags) == expected
    for operation in range(14):
        usual = operation in (0, 1, 3, 4, 5, 9, 10)  # not with priorities, which the kernel keeps
        for clock in (0, 256):
            expected = ALLOW if usual else fails(errno.EPERM)
            assert answer(seccomp.PRIVATE_FUTEX, "futex", 0, 128 | clock | operation) == expected
            assert answer(seccomp.PRIVATE_FUTEX, "futex", 0, clock | operation) == fails(errno.EPERM)
    for advice in range(120):
        usual = advice in (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17)
        expected = ALLOW if usual else fails(errno.EINVAL)
        assert answer(seccomp.PRIVATE_ADVICE, "madvise", 0, 4096, advice) == expected
    opening = [(seccomp.PLAIN_OPENAT, "openat", 2)] + [(seccomp.PLAIN_OPEN, "open", 1)] * (machine == X86_64)
    direct, folder, no_link = (0x4000, 0x10000, 0x20000) if machine == X86_64 else (0x10000, 0x4000, 0x8000)
    for table, name, index in opening:
        for flags in (0, 1, 2, 0x40, 0x80, 0x200, 0x400, 0x800, 0x101000, 0x80000, folder, no_link, 0x8000 | 0x20000):
            assert answer(table, name, *[3] * index, flags) == ALLOW, flags
        for flags in (0x2000, direct, 0x40000, 0x200000, 0x400000, 0x410000, 0x800000, 1 << 31):
            assert answer(table, name, *[3] * index, flags) == fails(errno.EINVAL), flags
    for name in seccomp.CONSTANT:
        assert answer(seccomp.CONSTANT, name) == fails(0)
    for name in seccomp.REFUSED_IDS:
        assert answer(seccomp.REFUSED_IDS, name, 4096, 4096, 4096) == fails(errno.EPERM)
    assert answer(seccomp.IGNORED, "fadvise64", 3, 0, 0, 4) == fails(0)
    for name in seccomp.COMMON_CLOCKS:
        for clock in (0, 1, 2, 3, 7, 15):
            assert answer(seccomp.COMMON_CLOCKS, name, clock) == ALLOW
        for clock in (16, ~1 << 3 | 2, ~1 << 3 | 6, 0xFFFF_FFFF):  # of a process, a thread, a descriptor
            assert answer(seccomp.COMMON_CLOCKS, name, clock & 0xFFFF_FFFF) == fails(errno.EINVAL)
    assert answer(seccomp.OWN_PROCESSORS, "sched_getaffinity", 0) == ALLOW
    assert answer(seccomp.OWN_PROCESSORS, "sched_getaffinity", 1) == fails(errno.EPERM)
    for name in ("clone3", "set_robust_list", "statfs", "fstatfs"):
        assert answer(seccomp.MISSING, name) == fails(errno.ENOSYS)
    assert answer(seccomp.IGNORED, "fchmod", 3, 0o777) == fails(0)
    assert answer(seccomp.UNSUPPORTED, "setxattr") == fails(errno.ENOTSUP)


@BOTH
def test_foreign_calling_conventions_kill(machine: int) -> None:
    for audit in (0x40000003, 0x40000028, seccomp.AUDIT_ARCH[1 - machine], 0):
        assert evaluate(machine, 0, audit=audit) == KILL
    if machine == X86_64:
        assert evaluate(machine, 0x40000000) == KILL
        assert evaluate(machine, 0x7FFFFFFF) == KILL


@BOTH
def test_without_a_chroot_a_few_more_are_refused(machine: int) -> None:
    refused = {
        seccomp.ALLOWED[name][machine]: fails(number)
        for name, number in seccomp.WITHOUT_CHROOT.items()
        if seccomp.ALLOWED[name][machine] is not None
    }
    assert len(refused) >= 1
    for number in range(600):
        expected = refused.get(number, evaluate(machine, number))
        assert evaluate(machine, number, chrooted=False) == expected
    assert evaluate(machine, 0, audit=0, chrooted=False) == KILL


@BOTH
@pytest.mark.parametrize("chrooted", [True, False])
def test_the_program_fits(machine: int, chrooted: bool) -> None:
    code = seccomp.program(machine, chrooted=chrooted)
    assert len(code) < 4096
    assert all(0 <= jump <= 255 for _, if_true, if_false, _ in code for jump in (if_true, if_false))
