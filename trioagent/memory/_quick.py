"""What costs less than a thread: a memory that needs nothing done to it, and small commits.

A thread costs some 70 us of CPU, and each of its system calls gives up the interpreter, which a busy main thread then
keeps for a while. What is judged here to be little is done in the caller's own thread.
"""

from __future__ import annotations

from . import _fsops
from ._changes import ChangeSet
from ._commit import Place, _cache, _private
from ._paths import PRIVATE, Folders
from ._redo import leftovers

_SMALL_CHANGES, _SMALL_BYTES, _SMALL_FOLDERS = 16, 256 * 1024, 64


def is_small(place: Place, changes: ChangeSet) -> bool:
    """Is it so little to commit that a thread for it costs more than itself?

    It is some 50 system calls then. Nothing is flushed, and no notes are counted, however many there are.
    """
    return (
        not place.sync
        and len(changes) <= _SMALL_CHANGES
        and sum(map(len, changes.writes.values())) <= _SMALL_BYTES
        and 0 < _cache.folders_of(place.path) <= _SMALL_FOLDERS
    )


def note_if_new(place: Place) -> None:
    """If the memory is empty, as when it has just been made, its sizes are known from here on."""
    try:
        if _fsops.names(place.root_fd):
            return
        sizes = _cache.take(place.path)
        with Folders(place.root_fd) as folders:
            sizes.refresh(folders, ())
    except OSError:
        return  # it is counted at the first commit
    _cache.put(place.path, sizes)


def hides_if_at_rest(place: Place) -> bool | None:
    """As `recover` where there is nothing to recover, in a few system calls; else None."""
    try:
        status = _fsops.lstat(PRIVATE, place.root_fd)
        if status is None:
            return False
        with _private(place.root_fd) as fd:
            names = _fsops.names(fd)
    except OSError:
        return None  # `recover` meets it again, and says what it is
    return True if names and not leftovers(names) else None
