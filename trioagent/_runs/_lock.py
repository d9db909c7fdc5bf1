"""The run lock: one process at a time uses a run directory. Synchronous; for worker threads."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

LOCK_NAME = "run.lock"
_TRIES, _SECONDS = 5, 0.01


class RunLock:
    """A lock on a run directory that is held; the kernel releases it when the process dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # A forked child (multiprocessing's default in 3.11) shares the lock and may outlive this process: it must not
        # keep the run directory locked. Callbacks cannot be unregistered, so this one keeps nothing alive.
        os.register_at_fork(after_in_child=_Abandon(weakref.ref(self)))

    def release(self) -> None:
        """Release the lock; does nothing if it was released before."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            fcntl.flock(fd, fcntl.LOCK_UN)  # explicitly, not only by closing: a fork by a C library runs no callbacks
            os.close(fd)

    def abandon(self) -> None:
        """In a forked child: close the inherited descriptor and leave the lock to the parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Abandon:
    def __init__(self, lock: weakref.ref[RunLock]) -> None:
        self._lock = lock

    def __call__(self) -> None:
        lock = self._lock()
        if lock is not None:
            lock.abandon()


def take_run_lock(run_dir: Path) -> RunLock | None:
    """The lock of *run_dir*, or None if another process holds it.

    It is retried for a moment, since `is_running` holds the lock for some microseconds.

    Raises:
        OSError: the directory cannot be written.
    """
    fd = os.open(run_dir / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        for _ in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_SECONDS)
            else:
                return RunLock(fd)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def is_running(run_dir: Path) -> bool:
    """Whether a process runs in this directory right now."""
    try:
        fd = os.open(run_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
