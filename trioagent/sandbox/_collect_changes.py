"""Collect a block's changes from its dead child's view, an overlay's upper layer or a changed copy, as plain data.

The view was written by hostile code: names may be no UTF-8, trees deep, files sparse or special. So: descriptors and
single names only, never a path; no link followed; every bound checked before reading.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .._errors import MemoryLimitError, MemoryStorageError, SandboxError
from ..memory import ChangeSet
from ..tools import DEFAULT_RULES, AccessRules, hidden_part, is_shown
from ._guest.copying import Manifest, file_detail, new_digest
from ._guest.limits import MAX_DEPTH, RESERVED, TEMPORARY, is_reserved
from ._guest.views import MANIFEST, VIEW, is_intact

_OPAQUE = "user.overlay.opaque"
_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking, in case a FIFO takes the file's place (nobody is left to do that; it costs nothing to be sure).
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ViewRemovedError(SandboxError):  # internal
    """A block's view was removed before all of it had been read."""


class TooManyNamesError(Exception):  # internal
    """There is more to look at than one step of the event loop may."""


def read_changes(
    upper: int, root: int, rules: AccessRules = DEFAULT_RULES, *, max_bytes: int, max_names: float = math.inf
) -> ChangeSet:
    """The changes in the layer behind descriptor *upper*, relative to the memory behind descriptor *root*.

    A note that the block opened for writing but left as it was is no change.

    Args:
        rules: what the block was shown; the marks that left the rest out of its view are no changes.
        max_names: how many names to look at.

    Raises:
        TooManyNamesError: there are more than *max_names*, in the layer or in folders of the memory that were removed.
        MemoryLimitError: for anything that is not a plain note or folder, or is too deep or too large.
        MemoryStorageError: the memory itself cannot be read, or is changed by others while it is.
    """
    reader = _Reader(rules, max_bytes, max_names)
    with _memory_errors(root):
        reader.compare(upper, root, "", 0)
    return _checked(reader.changes())


def _checked(changes: ChangeSet) -> ChangeSet:
    """Refuse changes of what has our own name, or begins with it, in any spelling."""
    for path in (*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs):
        if is_reserved(path.partition("/")[0]):
            raise MemoryLimitError(path[:200], "is a reserved name; use another one")
    return changes


def read_pieces(upper: int, prefix: str, *, size: int, piece_bytes: int) -> list[bytes]:
    """What a block of our own has written to its upper layer, piece by piece: *size* bytes in all.

    By descriptors from the layer itself, whatever the memory has under these names.

    Raises:
        OSError, ValueError: it is not that.
    """
    pieces: list[bytes] = []
    while (left := size - sum(map(len, pieces))) > 0:
        with open(os.open(f"{prefix}{len(pieces):06}", _FILE, dir_fd=upper), "rb") as file:
            piece = file.read(piece_bytes + 1)
        if len(piece) != min(left, piece_bytes):
            raise ValueError(f"piece {len(pieces)} has {len(piece)} bytes, not {min(left, piece_bytes)}")
        pieces.append(piece)
    return pieces


def compare_copy(container: int, *, max_bytes: int, max_files: int) -> ChangeSet:
    """The changes in the copied view in the folder behind descriptor *container* (see :mod:`._guest.views`).

    Judged by what was copied, not by what the memory holds now: a note that its owner has made or changed since is none
    of the block's deletions or writes.

    Raises:
        MemoryLimitError: as :func:`read_changes`, and for more than *max_files* changes.
        ViewRemovedError: somebody has begun to remove the view.
        SandboxError: it cannot be read.
    """
    try:
        try:
            before = _manifest(container)
            view = os.open(VIEW, _FOLDER, dir_fd=container)
            try:
                comparison = _Comparison(before, max_bytes)
                comparison.walk(view, "", 0)
            finally:
                os.close(view)
        finally:
            # After the last look, and whatever became of it: what is missing is deleted only in a view that is intact.
            if not is_intact(container):
                raise ViewRemovedError("the view of a block was removed before it had been read; nothing was saved")
    except (OSError, ValueError) as error:
        raise SandboxError(f"the view of a block cannot be read: {error}") from error
    changes = _checked(comparison.changes())
    if len(changes) > max_files:
        raise MemoryLimitError(
            ".", f"{len(changes)} files and folders were changed, more than the {max_files} one block may"
        )
    return changes


def _manifest(container: int) -> Manifest:
    with open(os.open(MANIFEST, _FILE, dir_fd=container), "rb") as file:
        return Manifest.decode(file.read())


@contextmanager
def _memory_errors(root: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = os.readlink(f"/proc/self/fd/{root}")
        raise MemoryStorageError(path, error.errno or 0, error.strerror or str(error)) from error


class _Comparison:
    """A copied view against the list of what was copied."""

    def __init__(self, before: Manifest, max_bytes: int) -> None:
        self._before, self._left = before.entries, max_bytes
        self._writes: dict[str, bytes] = {}
        self._made: set[str] = set()
        self._same_kind: set[str] = set()

    def walk(self, folder: int, prefix: str, depth: int) -> None:
        """Record all below *folder*. Recursion, and with it the descriptors that are open, is bounded by MAX_DEPTH."""
        if depth > MAX_DEPTH:
            raise MemoryLimitError(prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; make it flatter")
        for name in sorted(os.listdir(folder)):
            path = _join(prefix, name)
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            kind, detail = self._before.get(path, ("", ""))
            if path == RESERVED:
                raise MemoryLimitError(path, "is a reserved name; use another one")
            if name == TEMPORARY:
                continue
            if stat.S_ISDIR(info.st_mode):
                self._note(path, kind == "d", self._made)
                below = _open(name, _FOLDER, folder, path)
                try:
                    self.walk(below, path, depth + 1)
                finally:
                    os.close(below)
            elif stat.S_ISREG(info.st_mode):
                if kind == "f":
                    self._same_kind.add(path)
                if kind != "f" or not _has_content(name, folder, path, info, detail):
                    self._writes[path] = self._content(name, folder, path, info)
            elif stat.S_ISLNK(info.st_mode) and (kind, detail) == ("l", os.readlink(name, dir_fd=folder)):
                self._same_kind.add(path)  # copied; a block can make none
            else:
                raise MemoryLimitError(path, "is not a plain file or folder; a memory holds only those")

    def _note(self, path: str, same_kind: bool, new: set[str]) -> None:
        (self._same_kind if same_kind else new).add(path)

    def _content(self, name: str, folder: int, path: str, info: os.stat_result) -> bytes:
        if info.st_size > self._left:  # a sparse file may claim any size
            raise MemoryLimitError(path, f"has {info.st_size} bytes, more than one block may write; make it smaller")
        content = _read(name, folder, path, info.st_size)
        self._left -= len(content)
        return content

    def changes(self) -> ChangeSet:
        """What was found, and what was copied and is not there any more, or as something else."""
        gone = self._before.keys() - self._same_kind
        for path in gone:
            _join("", path)
        removed = {path for path in gone if self._before[path][0] == "d"}
        return ChangeSet(
            writes=self._writes,
            deletes=frozenset(gone - removed - self._writes.keys()),
            made_dirs=frozenset(self._made),
            removed_dirs=frozenset(removed),
        )


def _has_content(name: str, folder: int, path: str, info: os.stat_result, detail: str) -> bool:
    """By its digest: a time tells nothing, since writing through a mapping need not change it."""
    if not detail.startswith(f"{info.st_size}:"):
        return False
    digest = new_digest()
    with open(_open(name, _FILE, folder, path), "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return detail == file_detail(info.st_size, digest.digest())


class _Reader:
    """Collects the changes of an overlay's upper layer."""

    def __init__(self, rules: AccessRules, max_bytes: int, max_names: float) -> None:
        self._rules = rules
        self._names_left = max_names
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
        """Record one folder of the upper layer against its counterpart, None if there is none.

        *opaque*: nothing of the counterpart shows through. Recursion is bounded by MAX_DEPTH, which also bounds the
        descriptors that are open at a time.
        """
        if depth > MAX_DEPTH:
            raise MemoryLimitError(prefix[:200], f"is nested deeper than {MAX_DEPTH} folders; make it flatter")
        for name in sorted(self._names(upper)):
            path = _join(prefix, name)
            info = os.stat(name, dir_fd=upper, follow_symlinks=False)
            before = _stat(lower, name)
            whiteout = stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
            if path == RESERVED:
                if not whiteout:
                    raise MemoryLimitError(path, "is a reserved name; use another one")
            elif whiteout and self._is_left_out(path, name, before):
                continue  # ours, over what the block must not see; it could not delete that
            elif whiteout:
                self._remove(lower, name, path, before, depth)
            elif name == TEMPORARY:
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
            # Deleted and made anew: of the old folder, all the way down, only what is there again is still there.
            opaque = opaque or _is_opaque(folder)
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
        if before is not None and _same_file(upper, lower, name, info, before):
            return
        if info.st_size > self._left:  # a sparse file may claim any size
            raise MemoryLimitError(path, f"has {info.st_size} bytes, more than one block may write; make it smaller")
        content = _read(name, upper, path, info.st_size)
        self._left -= len(content)
        if before is not None and stat.S_ISDIR(before.st_mode):
            self._remove(lower, name, path, before, depth)
        self.writes[path] = content

    def _remove(self, lower: int | None, name: str, path: str, before: os.stat_result | None, depth: int) -> None:
        """Record that *name* of the lower folder, whatever it was, is gone."""
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

    def remove_contents(self, old: int, prefix: str, depth: int, keep: int | None) -> None:
        """Record all in folder *old* as gone, save for names that folder *keep* has: ``compare`` judges those."""
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


def _stat(folder: int | None, name: str) -> os.stat_result | None:
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same_file(upper: int, lower: int | None, name: str, info: os.stat_result, before: os.stat_result) -> bool:
    """By their contents: a time tells nothing, since writing through a mapping need not change it."""
    if not stat.S_ISREG(before.st_mode) or info.st_size != before.st_size:
        return False
    with open(_open(name, _FILE, upper, name), "rb") as new, open(_open(name, _FILE, lower, name), "rb") as old:
        while chunk := new.read(_CHUNK):
            if old.read(_CHUNK) != chunk:
                return False
        return True


def _open(name: str, flags: int, folder: int | None, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except PermissionError:
        raise MemoryLimitError(
            path, "was made without permission to read it back; make it with the usual mode"
        ) from None


def _read(name: str, folder: int | None, path: str, size: int) -> bytes:
    descriptor = _open(name, _FILE, folder, path)
    with open(descriptor, "rb") as file:
        return file.read(size)


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
