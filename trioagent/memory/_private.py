"""``.trioagent``, our only folder in a memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..tools import RESERVED
from . import _fsops
from ._apply import give_to, tidy


@contextlib.contextmanager
def private_folder(root_fd: int, *, make: bool = False) -> Iterator[int]:
    """Its descriptor; with *make* it is created if it does not exist, else that is a FileNotFoundError."""
    if make:
        with contextlib.suppress(FileExistsError):
            _fsops.mkdir(RESERVED, root_fd)
    fd = _fsops.open_dir(RESERVED, root_fd)
    try:
        if make and os.geteuid() == 0:
            give_to(_fsops.fstat(root_fd), fd)  # its owner must be able to clean up after us
        yield fd
    finally:
        _fsops.close(fd)


def remove_private(root_fd: int, private_fd: int) -> bool:
    """Remove the files of a commit, and the folder if nothing else is in it; returns whether the folder is removed."""
    gone = tidy(private_fd)
    if gone:
        _fsops.rmdir(RESERVED, root_fd)
    return gone
