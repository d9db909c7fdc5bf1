"""The child's end of its socket: frames of JSON, each after its length in four bytes.

Plain os.read and os.write, since seccomp leaves no socket calls.
"""

from __future__ import annotations

import _socket
import json
import os
from array import array
from typing import Any

MAX_REQUEST = 64 * 1024 * 1024  # the host is trusted; this only keeps a broken one from asking for gigabytes


class Channel:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> dict[str, object]:
        """The next frame from the host; ends the process if the host has gone."""
        return self._body(self._exactly(4))

    def _body(self, start: bytes) -> dict[str, object]:
        size = int.from_bytes(start, "big")
        if size > MAX_REQUEST:
            os._exit(1)
        frame = json.loads(self._exactly(size))
        assert type(frame) is dict
        return frame

    def read_with_descriptor(self) -> tuple[dict[str, Any], int | None]:
        """The same, with the descriptor that may have come along; while socket calls are left."""
        ours = _socket.socket(fileno=self._descriptor)
        try:
            start, rights, _, _ = ours.recvmsg(4, _socket.CMSG_SPACE(4))
        finally:
            ours.detach()
        if not start:
            os._exit(1)
        start += self._exactly(4 - len(start))
        lent = array("i", rights[0][2])[0] if rights else None
        return self._body(start), lent

    def write(self, frame: dict[str, object]) -> None:
        self.write_encoded(self.encode(frame))

    @staticmethod
    def encode(frame: dict[str, object]) -> bytes:
        # Lone surrogates have no UTF-8 form: they become "?", as in any text file.
        return json.dumps(frame, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")

    def write_encoded(self, body: bytes) -> None:
        rest = memoryview(len(body).to_bytes(4, "big") + body)
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
