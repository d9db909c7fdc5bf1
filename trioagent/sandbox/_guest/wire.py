"""The protocol between the host, the zygote and a child.

A child's own socket carries frames of JSON, each after its length in four bytes, by plain ``os.read`` and ``os.write``,
since seccomp allows no socket calls. A forked child first sends two descriptors; the zygote ends each stream with the
child's wait status.
"""

from __future__ import annotations

import _socket
import ctypes
import json
import os
import struct
from typing import Any

from .limits import HEADER_BYTES, MAX_REQUEST_BYTES

# What `json.loads` and `json.dumps` call: each Python function that a child runs costs it one or two pages.
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Channel:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> dict[str, object]:
        """The next frame from the host; exits the process if the host is gone."""
        return self.read_body(int.from_bytes(self._exactly(HEADER_BYTES), "big"))

    def read_body(self, size: int) -> dict[str, Any]:
        """The *size* bytes of a frame whose header has been read."""
        if size > MAX_REQUEST_BYTES:
            os._exit(1)
        frame, _ = _decode(self._exactly(size).decode(), 0)
        assert type(frame) is dict
        return frame

    def write(self, frame: dict[str, object]) -> None:
        self.write_encoded(self.encode(frame))

    @staticmethod
    def encode(frame: dict[str, object]) -> bytes:
        # Lone surrogates cannot be encoded: they become "?", as in any text file.
        return _encode(frame).encode("utf-8", "replace")

    def write_encoded(self, body: bytes) -> None:
        rest = memoryview(len(body).to_bytes(HEADER_BYTES, "big") + body)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = os.read(self._descriptor, min(size - len(parts), 1 << 20))
            if not part:
                os._exit(1)
            parts += part
        return bytes(parts)


DEATH = struct.Struct("=4sI")  # the mark and the wait status
DEATH_MARK = b"\xffDIE"  # neither UTF-8 nor a plausible frame length, so it cannot be part of an honest reply
OVERFULL = 1 << 16  # added to the status of a child that was killed for filling its view


SETUP_DESCRIPTORS = 3
"""At most, with a setup request: the index, and what :mod:`.grants` takes."""


class SetupHeader(ctypes.Structure):
    """``struct msghdr`` and what it points to, for the header of a setup request and its descriptors.

    Filled by ``recvmsg``, and not by a socket object, which would tell audit hooks of itself.
    """

    _fields_ = (
        ("name_at", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts_at", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("rights_at", ctypes.c_void_p),
        ("rights_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("text_at", ctypes.c_void_p),
        ("text_length", ctypes.c_size_t),
        ("size", ctypes.c_uint32.__ctype_be__),
        ("cmsg_length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("type", ctypes.c_int),
        ("numbers", ctypes.c_int * SETUP_DESCRIPTORS),
    )
    size: int  # of the body
    rights_length: int

    def __init__(self) -> None:
        here, fields = ctypes.addressof(self), type(self)
        super().__init__(
            parts_at=here + fields.text_at.offset,
            part_count=1,
            rights_at=here + fields.cmsg_length.offset,
            text_at=here + fields.size.offset,  # type: ignore[attr-defined]
            text_length=HEADER_BYTES,
        )

    def descriptors(self) -> list[int]:
        """Those that came with it."""
        if not self.rights_length:
            return []
        count: int = (self.cmsg_length - _socket.CMSG_LEN(0)) // ctypes.sizeof(ctypes.c_int)
        return list(self.numbers[:count])


ROOM = _socket.CMSG_SPACE(SETUP_DESCRIPTORS * ctypes.sizeof(ctypes.c_int))
"""What `SetupHeader.rights_length` is to be before the call; afterwards it is 0 if no descriptor came."""


class _Parts(ctypes.Structure):
    """``struct iovec`` and its buffer; ``struct cmsghdr`` and its data."""

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
        self._parts = parts  # keeps alive what the pointers point to
