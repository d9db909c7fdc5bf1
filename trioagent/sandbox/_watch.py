"""Which notes of a memory have changed, whoever changed them: the kernel says so, through inotify.

One watch for each folder. What a program on this machine does to a note is in the queue before that program knows that
it is done, so all that another process has committed is seen by whoever gets the lease after it. Not seen are writes
through a shared mapping or under another name of the same file (a hard link), and changes that another machine makes on
a network file system.
"""

from __future__ import annotations

import ctypes
import errno
import os
from struct import Struct

from ..memory._paths import Folders

_MAX_FOLDERS = 4096
_MAX_QUEUED = 1 << 20  # bytes read at once; who changes more had better start anew
_EVENT = Struct("iIII")
_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLY_FOLDERS, _NOT_UNLINKED, _IS_FOLDER = 0x01000000, 0x04000000, 0x40000000
_WANTED = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_FOLDERS | _NOT_UNLINKED

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Of the memory behind a descriptor. Takes some 5 ms for 10,000 notes.

    Raises:
        OSError: there are too many folders, or this user has too many watches.
    """

    def __init__(self, root_fd: int) -> None:
        self._folders: dict[int, str] = {}
        self._root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        self._queue = -1
        try:
            self._queue = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._follow("")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._root)
        if self._queue >= 0:
            os.close(self._queue)

    def changed(self) -> set[str] | None:
        """The notes that were written, made, removed or renamed since the last call; None if there is no telling.

        Hidden ones are left out. After None the watch is of no use any more.
        """
        found: set[str] = set()
        size = 0
        try:
            while size < _MAX_QUEUED:
                try:
                    events = os.read(self._queue, 65536)
                except BlockingIOError:
                    return found
                size += len(events)
                at = 0
                while at < len(events):
                    number, what, _, length = _EVENT.unpack_from(events, at)
                    at += _EVENT.size + length
                    if not self._take(number, what, events[at - length : at].rstrip(b"\0").decode(), found):
                        return None
        except (OSError, UnicodeDecodeError):
            pass
        return None

    def _take(self, number: int, what: int, name: str, found: set[str]) -> bool:
        """Book one event; False if it leaves no telling what has changed."""
        if what & (_OVERFLOW | _UNMOUNT):
            return False
        if what & _IGNORED:
            return self._folders.pop(number, None) != ""
        folder = self._folders.get(number)
        if folder is None or not name or name.startswith("."):
            return True
        path = f"{folder}/{name}" if folder else name
        if not what & _IS_FOLDER:
            found.add(path)
        elif what & (_MOVED_FROM | _MOVED_TO):
            return False
        elif what & _CREATE:
            self._follow(path, found)
        return True

    def _follow(self, path: str, found: set[str] | None = None) -> None:
        """Watch a folder and those in it, each before it is listed: no note can slip in between."""
        waiting = [path]
        with Folders(self._root) as folders:
            while waiting:
                here = waiting.pop()
                fd = folders.at(here)
                if fd is None:
                    continue  # gone again
                watched = _libc.inotify_add_watch(self._queue, f"/proc/self/fd/{fd}".encode(), _WANTED)
                self._folders[_checked(watched)] = here
                if len(self._folders) > _MAX_FOLDERS:
                    raise OSError(errno.ENOSPC, "too many folders")
                with os.scandir(fd) as entries:
                    for entry in entries:
                        inner = f"{here}/{entry.name}" if here else entry.name
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(inner)
                        elif found is not None:
                            found.add(inner)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
