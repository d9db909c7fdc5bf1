"""System calls that Python has no function for, by ctypes; numbers for x86_64 and aarch64."""

from __future__ import annotations

import ctypes
import os

X86_64, AARCH64 = 0, 1
MACHINE = {"x86_64": X86_64, "aarch64": AARCH64}.get(os.uname().machine)

# name: (x86_64, aarch64)
OWN_CALLS = {
    "capset": (126, 91),
    "close_range": (436, 436),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "unshare": (272, 97),
}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: object) -> int:
    """Make one system call; integers go as longs, bytes and ctypes objects as pointers.

    Raises:
        OSError: with the call's own name in its text.
    """
    if MACHINE is None:
        raise OSError(38, f"{name}: no system call numbers for {os.uname().machine}")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = libc.syscall(ctypes.c_long(OWN_CALLS[name][MACHINE]), *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int = 0) -> None:
    call("prctl", option, value, 0, 0, 0)
