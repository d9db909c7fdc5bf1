"""File systems that lack ways to rename: FAT, NFS and some FUSE, none of which can be mounted here."""

from __future__ import annotations

import ctypes

import pytest

from trioagent._files import libc


def refuse_renames(monkeypatch: pytest.MonkeyPatch, number: int, *flags: int) -> None:
    """Have the C library's ``renameat2`` fail with this error number where it is called with one of *flags*."""
    renameat2 = libc().renameat2

    def refuse(dir_fd: int, name: bytes, new_dir_fd: int, new_name: bytes, given: int) -> int:
        if given in flags:
            ctypes.set_errno(number)
            return -1
        done: int = renameat2(dir_fd, name, new_dir_fd, new_name, given)
        return done

    monkeypatch.setattr(libc(), "renameat2", refuse)
