"""The redo record of a commit, and carrying it out: the same code at once and after a crash.

Once the record lies at ``.trioagent/redo.json`` the commit has happened; what is left is to do what it says, and doing
so again does no harm. A record with a receipt is not removed in the end but renamed: it is the receipt. A record is
data from a disk, perhaps from a memory somebody sent us, so it is checked like any input, and nothing in it can name a
place outside the memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

import attrs

from . import _fsops
from ._paths import Folders, Version, is_inside, split, version_of

RECORD, UNFINISHED = "redo.json", "redo.tmp"
_STAGED = re.compile(r"new-[0-9]+")
_RECEIPT = re.compile(r"receipt-[0-9a-f]{64}")
_FORMAT = 1
P = ParamSpec("P")

# What an outside program can have put in our way after the commit; it acted later, so its state stands.
_OVERTAKEN = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP}
_OVERTAKEN.add(errno.ENAMETOOLONG)  # only a record that we have not written names what cannot be there


@attrs.frozen
class Staged:
    """A staged note: its file in ``.trioagent``, where it goes, and what it must contain.

    Attributes:
        before: the version that it replaces.
    """

    file: str
    target: str
    sha256: str
    before: Version | None = None


@attrs.frozen
class Redo:
    """What to do; see :class:`trioagent.memory._plan.CommitPlan` for the order.

    Attributes:
        moment: when the commit was made, ns: a note changed later by somebody else is left as it is.
        receipt: the name under which the record itself is kept once it is carried out, or "".
        payload: what the receipt holds, in base64.
    """

    moment: int
    deletes: dict[str, Version] = attrs.field(factory=dict)
    removed: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    writes: tuple[Staged, ...] = ()
    receipt: str = ""
    payload: str = ""

    def encode(self) -> bytes:
        return json.dumps({"format": _FORMAT, **attrs.asdict(self)}).encode()

    @classmethod
    def decode(cls, text: bytes) -> Redo:
        """Inverse of :meth:`encode`; ValueError if it is no such record."""
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT:
                raise ValueError(f"redo record of an unknown format {data['format']!r}")
            return cls(
                moment=_whole(data["moment"]),
                deletes={_path(path): _version(version) for path, version in data["deletes"].items()},
                removed=tuple(map(_path, data["removed"])),
                made=tuple(map(_path, data["made"])),
                writes=tuple(_staged(item, _path) for item in data["writes"]),
                receipt=_receipt_name(data["receipt"]),
                payload=_text(data["payload"]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a redo record: {error!r}") from error


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def carry_out(redo: Redo, folders: Folders, private_fd: int, *, sync: bool = False, again: bool = False) -> None:
    """Do what the record says, as far as it is not done yet.

    With *again* (after a crash) staged files are checked against their hashes first: after a power cut without ``sync``
    they may be torn, and are then left out.

    Raises:
        OSError: the disk refused; call again later.
    """
    for path, version in redo.deletes.items():
        folder, name = split(path)
        fd = folders.at(folder)
        if fd is not None and not _overtaken(fd, name, version, redo.moment):
            _tolerate(_fsops.unlink, name, fd)
    for path in redo.removed:
        folder, name = split(path)
        fd = folders.at(folder)
        if fd is not None:
            _tolerate(_fsops.rmdir, name, fd)
    for path in redo.made:
        _make_folder(folders, path)
    for staged in redo.writes:
        folder, name = split(staged.target)
        fd = folders.at(folder)
        if fd is None or (again and not _is_whole(staged, private_fd)):
            continue
        if not _overtaken(fd, name, staged.before, redo.moment):
            _tolerate(_fsops.rename, staged.file, private_fd, name, fd)
    if sync:
        for folder in {split(path)[0] for path in (*redo.deletes, *redo.removed, *redo.made)} | {
            split(staged.target)[0] for staged in redo.writes
        }:
            fd = folders.at(folder)
            if fd is not None:
                _fsops.fsync(fd)
    if redo.receipt:  # last: until here the record must stay where recovery looks for it
        _tolerate(_fsops.rename, RECORD, private_fd, redo.receipt, private_fd)
        if sync:
            _fsops.fsync(private_fd)


def leftovers(names: Iterable[str]) -> list[str]:
    """Which of the names in ``.trioagent`` belong to an unfinished commit, the record first."""
    ours = [name for name in names if name in (RECORD, UNFINISHED) or _STAGED.fullmatch(name)]
    return sorted(ours, key=lambda name: (name != RECORD, name))


def tidy(private_fd: int) -> bool:
    """Remove whatever a commit has left in ``.trioagent``; is nothing else there?"""
    names = set(_fsops.names(private_fd))
    for name in leftovers(names):
        _fsops.unlink(name, private_fd)
        names.discard(name)
    return not names


def _make_folder(folders: Folders, path: str) -> None:
    folder, name = split(path)
    fd = folders.at(folder)
    if fd is None:
        return
    try:
        _fsops.mkdir(name, fd)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise
        return
    if os.geteuid() == 0:
        new = folders.at(path)
        if new is not None:
            give_to(_fsops.fstat(folders.root_fd), new)


def give_to(owner: os.stat_result, fd: int) -> None:
    """What root makes in somebody's memory belongs to that somebody."""
    present = _fsops.fstat(fd)
    if (owner.st_uid, owner.st_gid) != (present.st_uid, present.st_gid):
        try:
            _fsops.chown(fd, owner.st_uid, owner.st_gid)
        except OSError as error:  # a root without that power, as in a container: the note stays root's
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise


def _overtaken(fd: int, name: str, before: Version | None, moment: int) -> bool:
    """Has somebody else changed the note since the commit? (Its version alone does not tell: it may be ours.)"""
    status = _fsops.lstat(name, fd)
    return status is not None and version_of(status) != before and status.st_mtime_ns > moment


def _is_whole(staged: Staged, private_fd: int) -> bool:
    return _fsops.sha256(staged.file, private_fd) == staged.sha256


def _tolerate(operation: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        operation(*args, **kwargs)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _version(value: Any) -> Version:
    inode, changed, size = map(_whole, value)
    return inode, changed, size


def _path(value: object) -> str:
    if not isinstance(value, str) or not is_inside(value):
        raise ValueError(f"{value!r} is not a path inside a memory")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _receipt_name(value: object) -> str:
    if value != "" and not _RECEIPT.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is not a receipt's name")
    return _text(value)


def _staged(item: Any, target: Callable[[object], str]) -> Staged:
    file, digest, before = item["file"], item["sha256"], item["before"]
    if not isinstance(file, str) or not _STAGED.fullmatch(file) or not isinstance(digest, str):
        raise ValueError(f"{item!r} is not a staged file")
    return Staged(file, target(item["target"]), digest, None if before is None else _version(before))
