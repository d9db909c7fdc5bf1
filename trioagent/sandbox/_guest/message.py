"""A message with descriptors, as ``sendmsg`` takes it, in one piece of memory."""

from __future__ import annotations

import _socket
import ctypes


class _Parts(ctypes.Structure):
    """``struct iovec`` and what it points to; ``struct cmsghdr`` and its data."""

    _fields_ = (
        ("text_at", ctypes.c_void_p),
        ("text_length", ctypes.c_size_t),
        ("text", ctypes.c_char * 8),
        ("rights_length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("descriptors", ctypes.c_int * 2),
    )


class Message(ctypes.Structure):
    """``struct msghdr`` of a short text and two descriptors."""

    _fields_ = (
        ("name_at", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts_at", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("rights_at", ctypes.c_void_p),
        ("rights_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )

    def __init__(self, text: bytes, first: int, second: int) -> None:
        size = ctypes.sizeof(_Parts) - _Parts.rights_length.offset
        parts = _Parts(0, len(text), text, size, _socket.SOL_SOCKET, _socket.SCM_RIGHTS, (first, second))
        here = ctypes.addressof(parts)
        parts.text_at = here + _Parts.text.offset
        super().__init__(None, 0, here, 1, here + _Parts.rights_length.offset, size, 0)
        self._parts = parts  # what the pointers point to lives as long as this
