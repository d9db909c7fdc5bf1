"""Attributes of a staged note besides its mode, as if it had been made in its final place.

A note that is replaced keeps its access list (POSIX ACL) and its extended attributes. A new note gets its folder's
default access list, and the group of a folder with the set-group-ID bit: shared folders rely on that.
"""

from __future__ import annotations

import contextlib
import stat
import struct

from . import _fsops
from ._paths import Folders, split

_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_OWNER, _GROUP, _MASK, _OTHERS = 0x01, 0x04, 0x10, 0x20
_NOT_EXECUTABLE = 6


def keep_attributes(folders: Folders, path: str, fd: int) -> None:
    """Copy the attributes of the note at *path* to the staged note that will replace it.

    Raises:
        OSError: its access list cannot be set; its mode alone would give access to more users than before.
    """
    folder, name = split(path)
    dir_fd = folders.at(folder)
    kept = {} if dir_fd is None else _fsops.kept_attributes(name, dir_fd)
    for attribute, value in kept.items():
        if attribute == _fsops.ACCESS_LIST:
            _fsops.set_attribute(fd, attribute, value)
        else:
            with contextlib.suppress(OSError):  # no room for it; it restricts no access
                _fsops.set_attribute(fd, attribute, value)


def inherit(folders: Folders, path: str, fd: int) -> None:
    """Give a staged new note the attributes of a new file in its folder, or in the nearest existing folder above.

    Raises:
        OSError: the access list cannot be set.
    """
    folder = split(path)[0]
    dir_fd = folders.at(folder)
    while dir_fd is None:
        folder = split(folder)[0]
        dir_fd = folders.at(folder)
    above = _fsops.fstat(dir_fd)
    if above.st_mode & stat.S_ISGID and _fsops.fstat(fd).st_gid != above.st_gid:
        with contextlib.suppress(OSError):  # a group that this user is not in
            _fsops.chown(fd, -1, above.st_gid)
    default = _fsops.default_access_list(dir_fd)
    if default:
        _fsops.set_attribute(fd, _fsops.ACCESS_LIST, _for_file(default))


def _for_file(default: bytes) -> bytes:
    """A folder's default access list as that of a file that nobody may execute."""
    entries = list(_ENTRY.iter_unpack(default[_HEAD.size :]))
    masked = {_OWNER, _OTHERS, _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP}
    made = (_ENTRY.pack(tag, may & _NOT_EXECUTABLE if tag in masked else may, who) for tag, may, who in entries)
    return default[: _HEAD.size] + b"".join(made)
