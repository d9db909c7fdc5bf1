"""The memory's index, lent by the host to a child for its one block: mapped, so that only what is asked for is read."""

from __future__ import annotations

import ctypes
import os

from .syscalls import libc

PROT_READ, MAP_SHARED = 1, 1
_FAILED = ctypes.c_void_p(-1).value

# Not the mmap module, which keeps a descriptor: a child's have their numbers, and its block is to have none of these.
_map = libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


def lent_bytes(descriptor: int) -> memoryview:
    """The bytes of a file that is sealed, so that they cannot vanish, and was opened for reading only.

    Closes *descriptor*.
    """
    try:
        size = os.fstat(descriptor).st_size
        address = _map(None, size, PROT_READ, MAP_SHARED, descriptor, 0)
        if address in (None, _FAILED):
            number = ctypes.get_errno()
            raise OSError(number, f"mmap: {os.strerror(number)}")
    finally:
        os.close(descriptor)
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B").toreadonly()
