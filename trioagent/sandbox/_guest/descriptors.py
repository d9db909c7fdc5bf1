"""A child's descriptors: the same numbers in each, so that calls can be prepared that name them."""

from __future__ import annotations

import fcntl
import os

CHANNEL = 3
"""The child's own socket, to the host."""
ROOT = 4
"""First whatever is open for a moment, then the memory's folder; in the end the view's root, until that is closed."""
BASE = 5
"""What the view lies in."""
TOLD = 6
"""The folder from which the host reads what the block did; the host gets it."""
MOUNTING, MOUNTED = 7, 8
"""A mount that is being made, and its root."""
LAST = 15
"""The zygote has nothing of its own at numbers up to this one, for when it warms up it makes views as a child does."""


def reserve() -> None:
    """Take all of a child's numbers, so that nothing that is opened gets one of them."""
    for number in range(CHANNEL, LAST + 1):
        os.dup2(0, number, inheritable=False)


def release() -> None:
    """Give them free, but for CHANNEL, which is taken in a child, too."""
    os.closerange(CHANNEL + 1, LAST + 1)


def set_aside(descriptor: int) -> int:
    """Give *descriptor* a number that no child has a use for. Returns that number."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LAST + 1)
    os.close(descriptor)
    return moved
