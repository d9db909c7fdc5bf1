"""The jobs of a batch: from a file, or stdin."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from .._errors import InvalidInputError
from ._run import STDIN


@attrs.frozen
class JobsSource:
    """A file of jobs, which is read more than once, and its name for messages."""

    path: Path
    name: str


@contextmanager
def open_jobs(given: Path) -> Iterator[JobsSource]:
    """The jobs of a file, or of stdin, which is read to its end into an unnamed file.

    Raises:
        InvalidInputError: the process was started without a stdin.
    """
    if str(given) != STDIN:
        yield JobsSource(given, str(given))
        return
    if sys.stdin is None:
        raise InvalidInputError("stdin", "is closed, and the jobs are to be read from it")
    # An unnamed file disappears with the process, however it ends. Opened by its descriptor's path, it is read
    # from the start each time, except on systems where that is the same open file.
    reopens = sys.platform == "linux"
    with tempfile.TemporaryFile() if reopens else tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield JobsSource(Path(f"/proc/self/fd/{file.fileno()}" if reopens else file.name), "stdin")
