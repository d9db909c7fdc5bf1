"""The record of a commit: its steps, in the form in which they are stored in ``.trioagent``.

Once the record is at ``.trioagent/redo.json`` the commit has happened; under the name ``undo.json`` it is being rolled
back. A record with a receipt is not removed at the end but renamed: it is the receipt. A record is data from a disk,
perhaps from a memory somebody sent us, so it is checked like any input, and nothing in it can name a place outside the
memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from .._json_steps import decode_steps
from .._steps import STEP_NAMES, run_all_steps
from ..tools import Version
from ._paths import is_inside

REDO, UNDO, UNFINISHED = "redo.json", "undo.json", "redo.tmp"
_OWN_FILE = re.compile(r"(?:new|old)-(?:[0-9a-f]{8}-)?[0-9]+")
_RECEIPT = re.compile(r"receipt-[0-9a-f]{64}")
_FORMAT = 2
_MODE = 0o7777


@attrs.frozen
class LegacyVersion:
    """The version of a note in records of format 1 (0.1): modification time (ns) and size.

    They contain the inode as well, which is ignored, since it changes when a memory is copied.
    """

    mtime_ns: int
    size: int


Before = Version | LegacyVersion | None


@attrs.frozen
class Deletion:
    """A note that is moved into ``.trioagent``.

    Attributes:
        path: the note.
        file: its name there.
        before: the version that is to be deleted.
    """

    path: str
    file: str
    before: Before


@attrs.frozen
class StagedWrite:
    """A note whose new content is staged in ``.trioagent``, and is exchanged with the old one.

    Attributes:
        path: the note.
        file: the staged file; once carried out it holds the old note, if there was one.
        before: the version that is replaced; None if there is no note.
        after: the version that is written; in format 1 ``sha256:`` and that hash.
    """

    path: str
    file: str
    before: Before
    after: str

    @property
    def set_aside(self) -> str:
        """The name for the old note on file systems that cannot exchange two files."""
        return f"old-{self.file.removeprefix('new-')}"


@attrs.frozen
class FolderChange:
    """A folder that is made or removed, with its permissions (None: by the process's umask)."""

    path: str
    mode: int | None = None


_LISTS = ("deletes", "removed", "made", "writes")


def _encoded(entries: Sequence[attrs.AttrsInstance]) -> str:
    pieces = (entries[start : start + STEP_NAMES] for start in range(0, len(entries), STEP_NAMES))
    return ", ".join(json.dumps([attrs.asdict(entry) for entry in piece])[1:-1] for piece in pieces)


@attrs.frozen
class CommitRecord:
    """The steps of a commit, in this order: deletes, removed, made, writes.

    Attributes:
        deletes: notes to delete.
        removed: folders to remove if they are empty then, innermost first.
        made: folders to make, outermost first.
        writes: notes to write.
        receipt: the name under which the record itself is kept once it is carried out, or "".
        payload: the receipt's payload, in base64.
        commit: the common part of the names of the commit's files, if known; it is not part of the file.
    """

    deletes: tuple[Deletion, ...] = ()
    removed: tuple[FolderChange, ...] = ()
    made: tuple[FolderChange, ...] = ()
    writes: tuple[StagedWrite, ...] = ()
    receipt: str = ""
    payload: str = ""
    commit: str = attrs.field(default="", eq=False)

    def encode(self) -> bytes:
        # Part by part: one call for all of a large commit would hold the interpreter lock, and so block the event loop.
        lists: tuple[Sequence[attrs.AttrsInstance], ...] = (self.deletes, self.removed, self.made, self.writes)
        parts = [f'"{name}": [{_encoded(each)}]' for name, each in zip(_LISTS, lists, strict=True)]
        rest = json.dumps({"receipt": self.receipt, "payload": self.payload})
        return f'{{"format": {_FORMAT}, {", ".join(parts)}, {rest[1:]}'.encode()

    @classmethod
    def decode(cls, text: bytes) -> CommitRecord:
        """Inverse of :meth:`encode`, also for format 1; ValueError if it is not such a record."""
        try:
            data = run_all_steps(decode_steps(text))
            if data["format"] == 1:
                return _decode_format_1(data)
            if data["format"] != _FORMAT:
                raise ValueError(f"commit record of an unknown format {data['format']!r}")
            return cls(
                deletes=tuple(
                    Deletion(_path(each["path"]), _own_file(each["file"]), _before(each["before"]))
                    for each in data["deletes"]
                ),
                removed=tuple(map(_folder, data["removed"])),
                made=tuple(map(_folder, data["made"])),
                writes=tuple(
                    StagedWrite(
                        _path(each["path"]), _own_file(each["file"]), _before(each["before"]), _text(each["after"])
                    )
                    for each in data["writes"]
                ),
                receipt=_receipt_name(data["receipt"]),
                payload=_text(data["payload"]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a commit record: {error!r}") from error

    def folders(self) -> set[str]:
        """The folders whose entries change."""
        paths = [*(each.path for each in self.deletes), *(each.path for each in self.writes)]
        paths += [each.path for each in (*self.removed, *self.made)]
        return {path.rpartition("/")[0] for path in paths}


def receipt_name(key: str) -> str:
    """The file in ``.trioagent`` that holds the receipt of this key."""
    return f"receipt-{hashlib.sha256(key.encode()).hexdigest()}"


def leftovers(names: Iterable[str]) -> list[str]:
    """The names in ``.trioagent`` that belong to an unfinished commit, the record first."""
    ours = [name for name in names if name in (REDO, UNDO, UNFINISHED) or _OWN_FILE.fullmatch(name)]
    return sorted(ours, key=lambda name: (name not in (REDO, UNDO), name))


def _decode_format_1(data: dict[str, Any]) -> CommitRecord:
    """A record of 0.1, which unlinked deleted notes and renamed over replaced ones."""
    return CommitRecord(
        deletes=tuple(
            Deletion(_path(path), f"old-{number}", _legacy(version))  # see set_aside
            for number, (path, version) in enumerate(data["deletes"].items(), len(data["writes"]))
        ),
        removed=tuple(FolderChange(_path(path)) for path in data["removed"]),
        made=tuple(FolderChange(_path(path)) for path in data["made"]),
        writes=tuple(
            StagedWrite(
                _path(each["target"]),
                _own_file(each["file"]),
                None if each["before"] is None else _legacy(each["before"]),
                f"sha256:{_text(each['sha256'])}",
            )
            for each in data["writes"]
        ),
        receipt=_receipt_name(data["receipt"]),
        payload=_text(data["payload"]),
    )


def _legacy(value: Any) -> LegacyVersion:
    _, mtime_ns, size = map(_whole, value)
    return LegacyVersion(mtime_ns, size)


def _before(value: object) -> Before:
    return None if value is None else _text(value)


def _folder(value: Any) -> FolderChange:
    mode = value["mode"]
    return FolderChange(_path(value["path"]), None if mode is None else _whole(mode) & _MODE)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not is_inside(value):
        raise ValueError(f"{value!r} is not a path inside a memory")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _own_file(value: object) -> str:
    if not isinstance(value, str) or not _OWN_FILE.fullmatch(value):
        raise ValueError(f"{value!r} is not a file of a commit")
    return value


def _receipt_name(value: object) -> str:
    if value != "" and not _RECEIPT.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is not a receipt's name")
    return _text(value)
