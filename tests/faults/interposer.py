"""The interposer: a small preloaded C library that counts what changes files under one folder, and stops at any of it.

A program that injects faults is started by `run_with_interposer`; there it loads all that it needs, makes no thread,
and then does a job again and again, each time with another fault; those that kill in a forked child.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs
import pytest

REPOSITORY = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_name("interposer.c")


class Mode(IntEnum):
    """What happens at the n-th operation; the numbers are those in ``interposer.c``."""

    COUNT = 0  # nothing
    FAIL_ONCE = 1  # this one fails
    FAIL_ON = 2  # this one and all after it fail: the disk is full, or gone
    KILL_BEFORE = 3  # the process dies; dying after an operation is dying before the next one
    KILL_MIDDLE = 4  # it dies with half of a write written
    SHORT = 5  # a write takes half of its bytes and says so
    FAIL_PATH = 6  # it fails, and so does all that follows on the same path, as on a protected note


class Missing(IntEnum):
    """What a file system lacks, each besides those before it; the numbers are those in ``interposer.c``."""

    NOTHING = 0
    EXCHANGE = 1  # RENAME_EXCHANGE, as on NFS
    RENAME_FLAGS = 2  # RENAME_NOREPLACE
    LINKS = 3  # as on FAT


DEATHS = (Mode.KILL_BEFORE, Mode.KILL_MIDDLE)


@attrs.frozen
class Fault:
    """What is disturbed: operation number *at* (from 1), in which way."""

    at: int
    mode: Mode
    error: int = 0

    @property
    def kills(self) -> bool:
        return self.mode in DEATHS


@attrs.frozen
class Ended:
    """How a child ended.

    Attributes:
        died: killed by the interposer.
        seen: how many operations there were (if it did not die).
        writes: the numbers of those that write more than a byte.
        faults: how many of them were disturbed.
        value: what its job returned, or the error that it raised.
    """

    died: bool
    seen: int = 0
    writes: tuple[int, ...] = ()
    faults: int = 0
    value: Any = None

    def every_fault(self) -> list[Fault]:
        """All that can be done to a job that was left in peace this time."""
        places = range(1, self.seen + 1)
        kinds = [(Mode.FAIL_ONCE, errno.ENOSPC), (Mode.FAIL_ONCE, errno.EIO), (Mode.FAIL_ON, errno.ENOSPC)]
        return [
            *(Fault(at, Mode.KILL_BEFORE) for at in (*places, self.seen + 1)),
            *(Fault(at, mode) for at in self.writes for mode in (Mode.KILL_MIDDLE, Mode.SHORT)),
            *(Fault(at, mode, error) for at in places for mode, error in kinds),
        ]

    def every_permanent_fault(self) -> list[Fault]:
        """Refusals that no retry cures, for one path and for all, from each operation on."""
        kinds = [(Mode.FAIL_PATH, error) for error in (errno.EPERM, errno.EXDEV, errno.EBUSY, errno.EDQUOT)]
        kinds += [(Mode.FAIL_ON, error) for error in (errno.EROFS, errno.EPERM, errno.EDQUOT)]
        return [Fault(at, mode, error) for at in range(1, self.seen + 1) for mode, error in kinds]


def compiler() -> str | None:
    """A C compiler, if this machine has one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)


def run_with_interposer(module: str, *arguments: object) -> str:
    """What ``python -m module arguments`` prints with the interposer loaded; its failure is ours."""
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler here, and the interposer is built from C")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "interposer.so"
        subprocess.run(
            [cc, "-D_LARGEFILE64_SOURCE", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True
        )
        result = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=REPOSITORY,
            env={**os.environ, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    library.fault_seen.restype = library.fault_done.restype = ctypes.c_long
    return library


def do_without(missing: Missing) -> None:
    """From now on, and in the children of this process, no file system has these operations."""
    _library().fault_without(missing)


PEACE = Fault(0, Mode.COUNT)


def here(job: Callable[[], object], folder: Path, fault: Fault = PEACE) -> Ended:
    """Do *job* with a *fault* among its operations under *folder*; an exception is its value."""
    library = _library()
    library.fault_arm(os.fsencode(folder.resolve()), fault.at, fault.mode, fault.error)
    try:
        value = job()
    except Exception as raised:  # noqa: BLE001 - the caller judges it
        value = raised
    finally:
        library.fault_disarm()
    seen = library.fault_seen()
    writes = tuple(number for number in range(1, seen + 1) if library.fault_is_write(number))
    return Ended(False, seen, writes, library.fault_done(), value)


def in_child(job: Callable[[], object], folder: Path, fault: Fault = PEACE) -> Ended:
    """The same in a forked child, which may die of it; anything else that ends it is an AssertionError here."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            ended = here(job, folder, fault)
            with open(write, "wb") as pipe:
                pickle.dump(ended, pipe)
        except BaseException:  # noqa: BLE001 - the parent is told by the exit status
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL and fault.kills, status
        return Ended(died=True, faults=1)
    assert os.waitstatus_to_exitcode(status) == 0
    ended = pickle.loads(said)
    assert isinstance(ended, Ended)
    return ended


def disturbed(job: Callable[[], object], folder: Path, fault: Fault) -> Ended:
    """*job* with a *fault*, here if it cannot kill."""
    return in_child(job, folder, fault) if fault.kills else here(job, folder, fault)


def said_by(ended: Ended) -> str:
    """The error that a job raised, with its traceback."""
    return "".join(traceback.format_exception(ended.value)) if isinstance(ended.value, Exception) else str(ended)
