"""System call filters as classic BPF programs: their pieces, assembling them, putting them on."""

from __future__ import annotations

import ctypes
import errno
import struct

from .syscalls import X86_64, call

# name: (x86_64, aarch64); None where an architecture has no such call.
Table = dict[str, tuple[int | None, int | None]]
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
Answers = dict[int, list[Instruction]]  # what a filter does with a call, by its number

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
    """Return without effect: with this error, or well if it is 0."""
    return _ret(0x00050000 | number)


def argument(index: int, *, high: bool = False) -> Instruction:
    """Load one half of an argument, for the tests that follow."""
    return _load(ARGUMENTS_AT + 8 * index + (4 if high else 0))


def answers_of(machine: int, *answers: tuple[Table, list[Instruction]]) -> Answers:
    """For each call of a table that *machine* has, the answer given with it; later tables count."""
    return {
        number: body
        for table, body in answers
        for number in (numbers[machine] for numbers in table.values())
        if number is not None
    }


def assemble(answers: Answers, machine: int) -> list[Instruction]:
    """The filter for one architecture (``X86_64`` or ``AARCH64``); calls without an answer fail with EPERM.

    A binary search over runs of call numbers: when a filter is put on, the kernel tries it for each number there is,
    which takes too long with one comparison after the other.
    """
    code = [_load(ARCH_AT), (EQUAL, 1, 0, AUDIT_ARCH[machine]), _ret(RET_KILL), _load(NUMBER_AT)]
    if machine == X86_64:
        code += [(AT_LEAST, 0, 1, X32_BIT), _ret(RET_KILL)]
    runs: list[tuple[int, list[Instruction]]] = []  # the first number of each run of calls with the same answer
    for number in range(max(answers) + 2):  # one past the last: refused, as is all above it
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
    """An assembled filter, ready to be put on."""

    def __init__(self, code: list[Instruction]) -> None:
        packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
        self._buffer = ctypes.create_string_buffer(packed, len(packed))
        self.program = _Program(len(packed) // 8, ctypes.addressof(self._buffer))

    def apply(self, *, all_threads: bool = False) -> None:
        """Put the filter on this thread, or all threads of its process, for good. It needs no_new_privs.

        Raises:
            OSError: this kernel, or what this process runs in, has none.
        """
        call("seccomp", SET_FILTER, _ALL_THREADS if all_threads else 0, ctypes.byref(self.program))
