"""Where the jobs of a batch come from: a file, or stdin."""

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
    """A file of jobs, which is read more than once, and what messages call it."""

    path: Path
    name: str


@contextmanager
def open_jobs(given: Path) -> Iterator[JobsSource]:
    """The jobs of a file, or those of stdin, which is read to its end into a file without a name.

    Raises:
        InvalidInputError: the process was started without a stdin.
    """
    if str(given) != STDIN:
        yield JobsSource(given, str(given))
        return
    if sys.stdin is None:
        raise InvalidInputError("stdin", "is closed, and the jobs are to be read from it")
    # A file without a name is gone with the process, however that ends. Opened by its descriptor's path, it is read
    # from the start each time, but on systems where that is the same open file.
    reopens = sys.platform == "linux"
    with tempfile.TemporaryFile() if reopens else tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield JobsSource(Path(f"/proc/self/fd/{file.fileno()}" if reopens else file.name), "stdin")
