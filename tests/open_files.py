"""Which descriptors this process has open: none of its garbage's, which would be closed at some moment in a test."""

from __future__ import annotations

import gc
import os


def open_files(*, again: bool = False) -> list[str]:
    """Their numbers, in order. Collects garbage first, if this is not *again*, soon after the first time."""
    if not again:
        gc.collect()
    return sorted(os.listdir("/proc/self/fd"), key=int)
