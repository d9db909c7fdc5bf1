"""Collect a block's changes from the upper layer of its dead child's view, an overlay or a layered one, as plain data.

Hostile code wrote the view: names may not be UTF-8, trees may be deep, files sparse or special. So this module uses
descriptors and single names only, never a path; it follows no link, and checks every bound before reading.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .._errors import MemoryLimitError, MemoryStorageError, SandboxError
from .._steps import STEP_BYTES, STEP_NAMES
from ..memory import ChangeSet, kept_name
from ..tools import DEFAULT_RULES, AccessRules, hidden_part, is_shown
from ._guest.layers import GONE, GONE_BYTES
from ._guest.limits import MAX_DEPTH, RESERVED, TEMPORARY, is_reserved
from ._guest.views import VIEW, is_intact

_OPAQUE = "user.overlay.opaque"
_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, in case the file is replaced by a FIFO (no process is left to do that; the flag costs nothing).
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ViewRemovedError(SandboxError):  # internal
    """A block's view was removed before all of it had been read."""


class TooManyNamesError(Exception):  # internal
    """There are more names to check than one step of the event loop may take."""


def read_changes(
    upper: int, root: int, rules: AccessRules = DEFAULT_RULES, *, max_bytes: int, max_names: float = math.inf
) -> ChangeSet:
    """The changes in the layer behind descriptor *upper*, relative to the memory behind descriptor *root*.

    A note that the block opened for writing but left as it was is not a change.

    Args:
        rules: the access rules of the block's view; the marks that hide the rest of the memory are not changes.
        max_names: the most names to check.

    Raises:
        TooManyNamesError: there are more than *max_names*, in the layer or in folders of the memory that were removed.
        MemoryLimitError: for anything that is not a plain note or folder, or is nested too deep or too large.
        MemoryStorageError: the memory itself cannot be read, or others change it meanwhile.
    """
    reader = _Reader(rules, max_bytes, max_names)
    with _memory_errors(root):
        reader.compare(upper, root, "", 0)
    return _checked(reader.changes())


def _checked(changes: ChangeSet) -> ChangeSet:
    """Refuse changes of reserved names (our own name, and names that begin with it), in any spelling."""
    for path in (*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs):
        if is_reserved(path.partition("/")[0]):
            raise MemoryLimitError(path[:200], "is a reserved name; use another one")
    return changes


def read_pieces(upper: int, prefix: str, *, size: int, piece_bytes: int) -> list[bytes]:
    """What an internal block has written to its upper layer, piece by piece: *size* bytes in all.

    Read from the layer itself, whatever the memory has under these names.

    Raises:
        OSError, ValueError: the layer does not hold that.
    """
    pieces: list[bytes] = []
    while (left := size - sum(map(len, pieces))) > 0:
        with open(os.open(f"{prefix}{len(pieces):06}", _FILE, dir_fd=upper), "rb") as file:
            piece = file.read(piece_bytes + 1)
        if len(piece) != min(left, piece_bytes):
            raise ValueError(f"piece {len(pieces)} has {len(piece)} bytes, not {min(left, piece_bytes)}")
        pieces.append(piece)
    return pieces


def read_layer(
    container: int,
    root: int,
    rules: AccessRules = DEFAULT_RULES,
    *,
    max_bytes: int,
    max_files: int,
    one_step: bool = False,
) -> ChangeSet:
    """The changes in the layer of a layered view, which lies in the folder behind descriptor *container*.

    Args:
        max_files: how many notes and folders the block may have written, created or deleted; the contents of a deleted
            folder do not count.
        one_step: do no more work than one step of the event loop may.

    Raises:
        TooManyNamesError: it is too much for *one_step*.
        MemoryLimitError, MemoryStorageError: as :func:`read_changes`, and for more than *max_files* changes.
        ViewRemovedError: another process has begun to remove the view.
        SandboxError: it cannot be read.
    """
    try:
        layer = os.open(VIEW, _FOLDER, dir_fd=container)
        try:
            return read_layered(layer, root, rules, max_bytes=max_bytes, max_files=max_files, one_step=one_step)
        finally:
            os.close(layer)
    except OSError as error:
        raise SandboxError(f"the view of a block cannot be read: {error}") from error
    finally:
        # Checked after the last read, however it ended: an absent name means "deleted" only in an intact layer.
        if not is_intact(container):
            raise ViewRemovedError("the view of a block was removed before it had been read; nothing was saved")


def read_layered(
    layer: int, root: int, rules: AccessRules, *, max_bytes: int, max_files: int, one_step: bool = False
) -> ChangeSet:
    """The same for the layer behind descriptor *layer*, which no other process removes."""
    with _memory_errors(root):
        names, bytes_ = (STEP_NAMES, STEP_BYTES) if one_step else (math.inf, math.inf)
        reader = _Reader(rules, max_bytes, names, step_bytes=bytes_, gone=_gone(layer, max_bytes, bytes_))
        reader.compare(layer, root, "", 0)
        reader.remove_gone(layer, root)
        changes = _checked(reader.changes())
    if reader.count > max_files:
        raise MemoryLimitError(
            ".", f"{reader.count} files and folders were changed, more than the {max_files} one block may"
        )
    return changes


def _gone(layer: int, max_bytes: int, step_bytes: float) -> frozenset[str]:
    """The paths of the memory that no longer show through, as reported by the block.

    Raises:
        MemoryLimitError: the report is malformed.
    """
    try:
        folder = os.open(GONE, _FOLDER, dir_fd=layer)
    except FileNotFoundError:
        return frozenset()
    found: set[str] = set()
    try:
        for name in sorted(os.listdir(folder)):
            with open(_open(name, _FILE, folder, name), "rb") as file:
                data = file.read(GONE_BYTES + 1)
            max_bytes, step_bytes = max_bytes - len(data), step_bytes - len(data)
            if step_bytes < 0:
                raise TooManyNamesError
            paths = json.loads(data) if len(data) <= GONE_BYTES and max_bytes >= 0 else None
            if type(paths) is not list or not all(type(path) is str and _is_plain(path) for path in paths):
                raise ValueError
            found.update(paths)
    except (ValueError, RecursionError, OSError):
        raise MemoryLimitError(GONE, "is a reserved name; use another one") from None
    finally:
        os.close(folder)
    return frozenset(found)


def _is_plain(path: str) -> bool:
    return "\0" not in path and {"", ".", ".."}.isdisjoint(path.split("/")) and path.count("/") <= MAX_DEPTH


@contextmanager
def _memory_errors(root: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryStorageError(path, error.errno or 0, error.strerror or str(error)) from error


class _Reader:
    """Collects the changes of an upper layer.

    Args:
        rules: the access rules of the block's view.
        max_bytes: the most bytes that may have been written.
        max_names, step_bytes: the most to check in all.
        gone: the paths that do not show through in a layered view; None for an overlay, which has its own marks.
    """

    def __init__(
        self,
        rules: AccessRules,
        max_bytes: int,
        max_names: float,
        *,
        step_bytes: float = math.inf,
        gone: frozenset[str] | None = None,
    ) -> None:
        self._rules = rules
        self._names_left, self._bytes_left = max_names, step_bytes
        self._gone = gone
        self.count = 0 if gone is None else len(gone)
        self.writes: dict[str, bytes] = {}
        self.deletes: set[str] = set()
        self.made_dirs: set[str] = set()
        self.removed_dirs: set[str] = set()
        self._left = max_bytes

    def changes(self) -> ChangeSet:
        return ChangeSet(
            writes=self.writes,
            deletes=frozenset(self.deletes),
            made_dirs=frozenset(self.made_dirs),
            removed_dirs=frozenset(self.removed_dirs),
        )

    def compare(self, upper: int, lower: int | None, prefix: str, depth: int, *, opaque: bool = False) -> None:
        """Compare one folder of the upper layer with its counterpart in the memory, None if there is none.

        *opaque*: nothing of the counterpart shows through. Recursion is bounded by MAX_DEPTH, which also bounds the
        descriptors that are open at a time.
        """
        if depth > MAX_DEPTH:
            raise MemoryLimitError(prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; make it flatter")
        for name in sorted(self._names(upper)):
            path = _join(prefix, name)
            info = os.stat(name, dir_fd=upper, follow_symlinks=False)
            before = _stat(lower, name)
            whiteout = self._gone is None and stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
            self.count += path not in (GONE, TEMPORARY)
            if path == RESERVED:
                if not whiteout:
                    raise MemoryLimitError(path, "is a reserved name; use another one")
            elif whiteout and self._is_left_out(path, name, before):
                continue  # our own mark over a hidden name; the block could not delete it
            elif whiteout:
                self._remove(lower, name, path, before, depth)
            elif name == TEMPORARY or (path == GONE and self._gone is not None):
                continue
            elif stat.S_ISDIR(info.st_mode):
                self._folder(upper, lower, name, path, before, depth, opaque)
            elif stat.S_ISREG(info.st_mode):
                self._file(upper, lower, name, path, info, before, depth)
            else:
                raise MemoryLimitError(path, "is not a plain file or folder; a memory holds only those")

    def _is_left_out(self, path: str, name: str, before: os.stat_result | None) -> bool:
        if hidden_part(name):
            return True
        if before is not None and stat.S_IFMT(before.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            return True  # a pipe, a socket or a device
        is_folder = before is not None and stat.S_ISDIR(before.st_mode)
        return not is_shown(path, self._rules, is_folder=is_folder)

    def _folder(
        self,
        upper: int,
        lower: int | None,
        name: str,
        path: str,
        before: os.stat_result | None,
        depth: int,
        opaque: bool,
    ) -> None:
        folder = _open(name, _FOLDER, upper, path)
        try:
            if before is None or not stat.S_ISDIR(before.st_mode):
                if before is not None:
                    self.deletes.add(path)
                self.made_dirs.add(path)
                self.compare(folder, None, path, depth + 1)
                return
            # Deleted and created again: everything in the old folder is gone, except for names that exist again.
            opaque = self._gone is None and (opaque or _is_opaque(folder))
            old = os.open(name, _FOLDER, dir_fd=lower)
            try:
                if opaque:
                    self.remove_contents(old, path, depth + 1, keep=folder)
                self.compare(folder, old, path, depth + 1, opaque=opaque)
            finally:
                os.close(old)
        finally:
            os.close(folder)

    def _file(
        self,
        upper: int,
        lower: int | None,
        name: str,
        path: str,
        info: os.stat_result,
        before: os.stat_result | None,
        depth: int,
    ) -> None:
        self._bytes_left -= info.st_size
        if self._bytes_left < 0:
            raise TooManyNamesError
        same = before is not None and lower is not None and _same_file(upper, lower, name, info, before)
        if same and lower is not None and kept_name(lower, name) == name:
            return  # else it may be the new spelling of a name that is gone
        if info.st_size > self._left:  # a sparse file may claim any size
            raise MemoryLimitError(path, f"has {info.st_size} bytes, more than one block may write; make it smaller")
        content = _read(name, upper, path, info.st_size)
        self._left -= len(content)
        if before is not None and stat.S_ISDIR(before.st_mode):
            if self._gone is None:
                self._remove(lower, name, path, before, depth)
            else:
                self.removed_dirs.add(path)
        self.writes[path] = content

    def _remove(self, lower: int | None, name: str, path: str, before: os.stat_result | None, depth: int) -> None:
        """Record that *name* of the lower folder is gone, whether note or folder."""
        if before is None:
            return
        if not stat.S_ISDIR(before.st_mode):
            self.deletes.add(path)
            return
        self.removed_dirs.add(path)
        old = os.open(name, _FOLDER, dir_fd=lower)
        try:
            self.remove_contents(old, path, depth + 1, keep=None)
        finally:
            os.close(old)

    def remove_gone(self, upper: int, lower: int) -> None:
        """Record the paths that a layered view reports as gone, except for names that exist again: ``compare`` handles
        those.

        Notes that others have put into a folder that the block removed are not listed, and are not deleted.
        """
        assert self._gone is not None
        self._names_left -= len(self._gone)
        if self._names_left < 0:
            raise TooManyNamesError
        for path in self._gone:
            info = None if _status_at(upper, path) is not None else _status_at(lower, path)
            if info is not None:
                (self.removed_dirs if stat.S_ISDIR(info.st_mode) else self.deletes).add(path)

    def remove_contents(self, old: int, prefix: str, depth: int, keep: int | None) -> None:
        """Record all of folder *old* as gone, except for names that folder *keep* has: ``compare`` handles those."""
        if depth > MAX_DEPTH:
            raise MemoryLimitError(
                prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; it cannot be removed here"
            )
        kept = set(self._names(keep)) if keep is not None else set()
        for name in self._names(old):
            if name not in kept and _join(prefix, name) != RESERVED:
                info = os.stat(name, dir_fd=old, follow_symlinks=False)
                self._remove(old, name, _join(prefix, name), info, depth)

    def _names(self, folder: int) -> list[str]:
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._names_left -= 1
                if self._names_left < 0:
                    raise TooManyNamesError
                names.append(entry.name)
        return names


def _join(prefix: str, name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(name)[:100]
        raise MemoryLimitError(prefix[:200] or ".", f"holds a name that is not UTF-8 ({shown!r}); rename it") from None
    return f"{prefix}/{name}" if prefix else name


@contextmanager
def _folder_at(root: int, path: str) -> Iterator[int | None]:
    """Open the folder *path* below *root* without following links; None if it does not exist."""
    here: int | None = os.dup(root)
    try:
        for name in path.split("/") if path else ():
            assert here is not None
            above, here = here, None
            try:
                here = os.open(name, _FOLDER, dir_fd=above)
            except (FileNotFoundError, NotADirectoryError):
                break
            finally:
                os.close(above)
        yield here
    finally:
        if here is not None:
            os.close(here)


def _status_at(root: int, path: str) -> os.stat_result | None:
    """The status of *path* below *root*, or None."""
    parent, _, name = path.rpartition("/")
    with _folder_at(root, parent) as folder:
        return _stat(folder, name)


def _stat(folder: int | None, name: str) -> os.stat_result | None:
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same_file(upper: int, lower: int | None, name: str, info: os.stat_result, before: os.stat_result) -> bool:
    """Compares contents, not times: writing through a mapping need not change the modification time."""
    if not stat.S_ISREG(before.st_mode) or info.st_size != before.st_size:
        return False
    count = min(_CHUNK, info.st_size + 1)
    new = _open(name, _FILE, upper, name)
    try:
        old = _open(name, _FILE, lower, name)
        try:
            while chunk := os.read(new, count):
                if os.read(old, count) != chunk:
                    return False
            return True
        finally:
            os.close(old)
    finally:
        os.close(new)


def _open(name: str, flags: int, folder: int | None, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        raise MemoryLimitError(
            path, "was made without permission to read it back; make it with the usual mode"
        ) from None


def _read(name: str, folder: int | None, path: str, size: int) -> bytes:
    descriptor = _open(name, _FILE, folder, path)
    try:
        content = os.read(descriptor, size)
        while len(content) < size and (more := os.read(descriptor, size - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
