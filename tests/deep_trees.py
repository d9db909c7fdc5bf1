"""Folders nested deeper than a path can be long, and their removal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Nest = Callable[[Path, int], None]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    """Makes a folder in a folder, so many times: deeper than a path can be long, or than others can clean up after."""

    def nest(path: Path, depth: int) -> None:
        fd = os.open(path, _FOLDER)
        for _ in range(depth):
            os.mkdir("d", dir_fd=fd)
            deeper = os.open("d", _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = deeper
        os.close(fd)

    yield nest
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)
