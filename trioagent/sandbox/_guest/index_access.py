"""A child's use of the memory's index: maps it read-only, and tells it which notes the block's code changes."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from .syscalls import libc

PROT_READ, MAP_SHARED = 1, 1
_FAILED = ctypes.c_void_p(-1).value

# Not the mmap module, which keeps a descriptor: a child's descriptors have fixed numbers, and its block gets none of
# them.
_map = libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


def map_file(descriptor: int) -> memoryview | None:
    """The bytes of a file that is sealed, so that they cannot vanish, and was opened for reading only.

    Closes *descriptor*. None if it cannot be mapped: a block works without an index, too.
    """
    try:
        size = os.fstat(descriptor).st_size
        address = _map(None, size, PROT_READ, MAP_SHARED, descriptor, 0)
        if address in (None, _FAILED):
            return None
    finally:
        os.close(descriptor)
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B").toreadonly()


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HERE = (-1, None)  # the folder's values in an audit event of a relative path without dir_fd
_UNTRACKED = ("os.link", "os.symlink", "sqlite3.connect", "dbm.open")


class Writes:
    """Tells the index which notes the block's own code changes, before it happens.

    An audit hook reports them, as it reports reads (:class:`.run_block.Reads`); the tools report their own changes. If
    a change's note is unknown, or files may be written without an event, the index is no longer used in this block.

    Args:
        index: the index of the tools; its paths are below ``/``.
        quiet: the number of tools at work.
    """

    def __init__(self, index: Any, quiet: Any) -> None:
        self._index, self._quiet = index, quiet

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        index = self._index
        if not index.usable or self._quiet.depth > 0:
            return
        try:
            if event == "open":
                path, mode, flags = arguments
                if flags & _WRITING and not isinstance(path, int):
                    # os.open, which has no mode here, may have been given a folder that the event does not name.
                    self._changes(path, -1 if mode is not None or os.path.isabs(path) else 0)
            elif event == "os.remove":
                self._changes(*arguments)
            elif event == "os.rename":
                source, target, source_folder, target_folder = arguments
                if os.path.isdir(source):
                    index.lose()
                self._changes(source, source_folder)
                self._changes(target, target_folder)
            elif event == "os.truncate":
                if not isinstance(arguments[0], int):
                    self._changes(arguments[0], -1)
            elif event in _UNTRACKED or event.startswith("ctypes."):
                index.lose()
        except (OSError, TypeError, ValueError):  # not a path; or the call itself will raise it
            index.lose()

    def _changes(self, path: Any, folder: int | None) -> None:
        if folder not in _HERE:
            self._index.lose()
            return
        parent, name = os.path.split(os.fsdecode(path))
        full_path = os.path.join(os.path.realpath(parent), name)
        for each in {full_path, os.path.realpath(full_path)}:  # through a link, the target changes
            self._index.changed(os.path.normpath(each).lstrip("/"))
