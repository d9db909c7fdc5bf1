"""System calls through ctypes, singly or in prepared sequences (for x86_64 and aarch64); descriptors; signals."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

X86_64, AARCH64 = 0, 1
MACHINE = {"x86_64": X86_64, "aarch64": AARCH64}.get(os.uname().machine)

# name: (x86_64, aarch64)
OWN_CALLS = {
    "capset": (126, 91),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup3": (292, 24),
    "fchdir": (81, 50),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "getpid": (39, 172),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "openat": (257, 56),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "recvmsg": (47, 212),
    "seccomp": (317, 277),
    "sendmsg": (46, 211),
    "set_robust_list": (273, 99),
    "unshare": (272, 97),
    "write": (1, 64),
}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_GET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 37, 38

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
_WORDS = 7  # a call's number and the most arguments of a call
_syscall = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * _WORDS, use_errno=True)(("syscall", libc))


def call(name: str, *arguments: object) -> int:
    """Make one system call; integers are passed as longs, bytes and ctypes objects as pointers.

    Raises:
        OSError: its text contains the call's name.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = libc.syscall(ctypes.c_long(_number(name)), *words)
    if result < 0:
        _fail(name)
    return result


def _number(name: str) -> int:
    if MACHINE is None:
        raise OSError(38, f"{name}: no system call numbers for {os.uname().machine}")
    return OWN_CALLS[name][MACHINE]


def _fail(name: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, f"{name}: {os.strerror(number)}")


def prctl(option: int, value: int = 0) -> None:
    call("prctl", option, value, 0, 0, 0)


class Script:
    """A sequence of system calls with all their arguments, made by a child after its fork.

    After a fork the first write to each page of memory copies that page, which takes some 2 us, and Python writes to
    everything it touches, if only to the reference count. The calls by which a child confines itself are therefore
    prepared before the fork, as numbers, and made in one short loop. That needs descriptors whose numbers are known
    beforehand: a child's are reserved from the start (see CHANNEL and those after it), and the kernel assigns the
        lowest
    free number.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[tuple[int, ...], int]] = []
        self._names: list[str] = []
        self._kept: list[object] = []  # the objects that the calls point to
        self._final: list[int] = []  # the calls that cannot be undone

    def add(
        self,
        name: str,
        *arguments: int | bytes | ctypes.Structure | ctypes.Array[Any],
        result: int = 0,
        final: bool = False,
    ) -> None:
        """Append a call that must return *result*; bytes and ctypes objects are passed as pointers.

        Args:
            final: it cannot be undone, so a rehearsal skips it.
        """
        if final:
            self._final.append(len(self._calls))
        words = (_number(name), *map(self._word, arguments))
        self._calls.append((words + (0,) * (_WORDS - len(words)), result))
        self._names.append(name)

    @contextmanager
    def rehearsed(self) -> Iterator[None]:
        """Inside the block, `run` calls getpid instead of each final call."""
        calls = self._calls
        nothing = ((_number("getpid"),) + (0,) * (_WORDS - 1), os.getpid())
        self._calls = [nothing if number in self._final else each for number, each in enumerate(calls)]
        try:
            yield
        finally:
            self._calls = calls

    def _word(self, argument: object) -> int:
        if isinstance(argument, int):
            return argument
        kept = ctypes.create_string_buffer(argument) if isinstance(argument, bytes) else argument
        self._kept.append(kept)
        return ctypes.addressof(kept)  # type: ignore[arg-type]

    def extend(self, other: Script) -> None:
        """Append all calls of another one."""
        self._final += [len(self._calls) + number for number in other._final]
        self._calls += other._calls
        self._names += other._names
        self._kept += other._kept

    def run(self) -> None:
        """Make the calls.

        Raises:
            OSError: a call returned something else; the text contains its name. Later calls were not made.
        """
        for arguments, result in self._calls:
            answer = _syscall(*arguments)
            if answer != result:
                name = self._names[self._calls.index((arguments, result))]
                if answer < 0:
                    _fail(name)
                raise OSError(errno.EBADF, f"{name} answered {answer} and not {result}")


# A child's descriptors: the same numbers in each child, so that prepared calls can use them.
CHANNEL = 3
"""The child's own socket, to the host."""
ROOT = 4
"""First temporary, then the memory's folder; at the end the view's root, until that is closed."""
BASE = 5
"""The folder or mount that contains the view."""
UPPER_FD = 6
"""The folder from which the host reads the block's changes; it is passed to the host."""
MOUNTING, MOUNTED = 7, 8
"""A mount under construction, and its root."""
GRANTS, LISTED = MOUNTING, MOUNTED
"""In a layered view: the ruleset and the file of :mod:`.grants`."""
LAST = 15
"""The zygote's own descriptors have higher numbers, since it makes views like a child's when it warms up."""


def reserve() -> None:
    """Occupy all of a child's numbers, so that no newly opened descriptor gets one of them."""
    for number in range(CHANNEL, LAST + 1):
        os.dup2(0, number, inheritable=False)


def release() -> None:
    """Free them, except for CHANNEL, which is occupied in a child, too."""
    os.closerange(CHANNEL + 1, LAST + 1)


def set_aside(descriptor: int) -> int:
    """Move *descriptor* to a number that no child uses. Returns that number."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LAST + 1)
    os.close(descriptor)
    return moved


def reset_signals() -> None:
    """Unblock all signals and give each its default action: the first thing that every process of ours does.

    Blocked and ignored signals are inherited through ``exec``. With SIGCHLD ignored a zygote could not wait for its
    children; with SIGTERM or SIGXCPU ignored or blocked, neither the host nor a limit could end one. SIGPIPE and
    SIGXFSZ stay ignored, as in Python: the call raises an OSError instead.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        ignored = number in (getattr(signal, "SIGPIPE", None), getattr(signal, "SIGXFSZ", None))
        try:
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL, SIGSTOP, and those reserved by the C library


def be_killed_first() -> None:
    """Make the kernel's out-of-memory killer prefer this process and those that it starts over the host.

    Among these it kills the largest, which usually is a block and not the zygote.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


class Terminated(BaseException):  # internal
    """A signal requested the end of this process."""


def raise_terminated(*_: object) -> None:
    """A signal handler."""
    raise Terminated
