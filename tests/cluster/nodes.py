"""Processes that are started as daemons, as ``ray start`` does, and are to be gone after a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def home_of_processes(home: Path) -> Iterator[None]:
    """Afterwards, whatever was started with this home folder is killed."""
    try:
        yield
    finally:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
