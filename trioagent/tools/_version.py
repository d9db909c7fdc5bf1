"""The version of a note: a hash of its content, the same wherever it is taken.

A sandboxed block takes it of the content that it has read, and a commit compares it with the memory's content. Clocks,
timestamps and inodes play no part.
"""

from __future__ import annotations

import os
import stat
from _blake2 import blake2b  # hashlib would load OpenSSL as well, whose pages each child's fork would copy

Version = str

MAX_HASHED = 64 * 1024 * 1024
"""Bytes; a larger file is an attachment that no block reads whole, and is identified by its size."""

_DIGEST_BYTES = 16
_PIECE = 1024 * 1024


def version_of(data: bytes) -> Version:
    """The version of a note with this content."""
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def version_of_open(fd: int) -> Version:
    """The version of the file of a newly opened descriptor."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "special"
    if status.st_size > MAX_HASHED:
        return f"large-{status.st_size}"
    digest, left = blake2b(digest_size=_DIGEST_BYTES), MAX_HASHED
    while left > 0 and (data := os.read(fd, min(_PIECE, status.st_size + 1))):
        digest.update(data)
        if len(data) == status.st_size < _PIECE:  # one byte more was asked for: this is the end
            break
        left -= len(data)
    return digest.hexdigest()
