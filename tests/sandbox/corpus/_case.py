"""One attack."""

from __future__ import annotations

import attrs

# Raw system calls for a block: sc(number, ...) returns the result or minus errno.
SYSCALL = """
import ctypes, os
L = ctypes.CDLL(None, use_errno=True)
L.syscall.restype = ctypes.c_long
def sc(number, *words):
    result = L.syscall(ctypes.c_long(number), *[ctypes.c_long(w) if isinstance(w, int) else w for w in words])
    return result if result >= 0 else -ctypes.get_errno()
escaped = None
"""


@attrs.frozen
class Case:
    """Code that tries to get out.

    Attributes:
        name: what it is called.
        escape: what would be seen if it succeeded; the arena looks for all signs of all cases every time.
        code: the block. It may set ``escaped`` to something true where success leaves no other trace. ``@NAME@`` stands
            for what the arena knows: MEM and OUT (the memory, a folder outside), SECRET and SECRET2 (files of other
            memories, the second in a folder whose name starts like MEM), PORT, UDP, UNIX and ABS (listeners), PPID (the
            host) and VICTIM (a process of the same user).
    """

    name: str
    escape: str
    code: str


def refused_call(name: str, number: int, arguments: str) -> Case:
    """A system call that must fail (by its x86_64 number; elsewhere the number is another call or none)."""
    code = f'if os.uname().machine == "x86_64" and sc({number}, {arguments}) >= 0:\n    escaped = "{name}"\n'
    return Case(f"call_{name}", f"{name}(2) succeeds", SYSCALL + code)
