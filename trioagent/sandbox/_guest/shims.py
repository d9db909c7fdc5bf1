"""Functions of ``os`` that the view does not serve as a plain disk would, made to behave as code expects.

These are comforts, not walls: a block can undo them, and then meets the bare system calls.
"""

from __future__ import annotations

import errno
import os
from typing import Any

_rename, _replace = os.rename, os.replace


def install() -> None:
    os.utime = utime
    os.rename = rename
    os.replace = replace


def utime(path: Any, *args: Any, dir_fd: int | None = None, follow_symlinks: bool = True, **kwargs: Any) -> None:
    """Nothing, or FileNotFoundError: the filter answers "done" for any path, but ``Path.touch`` asks to find out."""
    if isinstance(path, int):
        os.fstat(path)
    else:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def rename(src: Any, dst: Any, **kwargs: Any) -> None:
    try:
        _rename(src, dst, **kwargs)
    except OSError as error:
        _move_folder(error, src, dst, kwargs)


def replace(src: Any, dst: Any, **kwargs: Any) -> None:
    try:
        _replace(src, dst, **kwargs)
    except OSError as error:
        _move_folder(error, src, dst, kwargs)


def _move_folder(error: OSError, src: Any, dst: Any, kwargs: dict[str, Any]) -> None:
    """An overlay refuses to rename a folder of its lower layer (EXDEV): copy it and remove the old one."""
    if error.errno != errno.EXDEV or kwargs or not os.path.isdir(src):
        raise error
    import shutil  # which brings along much that few blocks need

    if os.path.isdir(dst):
        os.rmdir(dst)  # as rename does: only an empty folder may be in the way
    shutil.copytree(src, dst)
    shutil.rmtree(src)
