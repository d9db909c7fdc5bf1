"""Commit messages: a subject for people, and all metadata of a commit as one line of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, get_args

import attrs

from .._paths import is_inside
from ._revisions import ChangeAction, CommitOrigin, RevisedNote, Revision, RevisionKind
from ._rows import CommitRow

_DATA = "Trioagent-Revision: "
_SUBJECT = 72
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\u2028\u2029]+")
_NO_NAME = re.compile(r"[<>\x00-\x1f\x7f\ud800-\udfff]+")

_WHOLE = attrs.validators.instance_of(int)


@attrs.frozen(kw_only=True)
class CommitData:
    """The contents of a commit's message.

    Attributes:
        sequence: of the last row of the journal that is in the store with this commit.
        id: of its row; "" if it has none.
        time: seconds since 1970.
        origin: the author of the commit.
        changes: what it did to each note; of a baseline they are not listed.
        notes: their number.
        made: folders that it made.
        removed: folders that it removed, with their permissions.
        left_out, pruned: see `Revision`.
    """

    sequence: int = attrs.field(validator=_WHOLE)
    time: float = attrs.field(validator=attrs.validators.instance_of(float | int))
    origin: CommitOrigin
    id: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    changes: tuple[RevisedNote, ...] = ()
    notes: int = attrs.field(default=0, validator=_WHOLE)
    made: tuple[str, ...] = ()
    removed: dict[str, int | None] = attrs.field(factory=dict)
    left_out: tuple[str, ...] = ()
    pruned: int = attrs.field(default=0, validator=_WHOLE)

    @classmethod
    def of_row(cls, row: CommitRow, changes: Sequence[RevisedNote]) -> CommitData:
        return cls(
            sequence=row.sequence,
            time=row.time,
            origin=row.origin,
            id=row.id,
            changes=tuple(changes),
            notes=len(changes),
            made=row.made,
            removed=dict(row.removed),
        )

    @property
    def author(self) -> str:
        """The author's name, in a form that git accepts."""
        name = _NO_NAME.sub(" ", self.origin.author).strip() or self.origin.kind
        return name if self.origin.kind != "external" else "external"

    def message(self) -> bytes:
        """The whole commit message."""
        fields = attrs.asdict(self)
        fields["changes"] = [list(attrs.astuple(change)) for change in self.changes]
        text = f"{self._subject()}\n\n{self._lines()}{_DATA}{json.dumps(fields)}\n"
        return text.encode("utf-8", "replace")

    @classmethod
    def parse(cls, message: str) -> CommitData | None:
        """Inverse of :meth:`message`; None if it is not a message of ours."""
        line = message.rstrip("\n").rpartition("\n")[2]
        if not line.startswith(_DATA):
            return None
        try:
            fields: dict[str, Any] = json.loads(line.removeprefix(_DATA))
            origin = CommitOrigin(**fields.pop("origin"))
            changes = tuple(RevisedNote(*change) for change in fields.pop("changes"))
            if origin.kind not in get_args(RevisionKind):
                raise ValueError(f"an unknown kind {origin.kind!r}")
            if not all(map(_is_plain, changes)) or not _is_plain_origin(origin):
                raise ValueError("a value of another type")
            for name in ("made", "left_out"):
                fields[name] = tuple(fields[name])
            return cls(origin=origin, changes=changes, **fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def revision(self, revision: str) -> Revision:
        origin = self.origin
        return Revision(
            id=revision,
            time=self.time,
            kind=origin.kind,
            author=self.author,
            chat=origin.chat,
            job=origin.job,
            batch=origin.batch,
            turn=origin.turn,
            said=origin.said,
            changes=self.changes,
            notes=self.notes,
            left_out=self.left_out,
            pruned=self.pruned,
        )

    def _subject(self) -> str:
        what = self.origin.said or ", ".join(change.path for change in self.changes[:5])
        if self.origin.kind == "baseline":
            older = f", after {self.pruned} older revisions" if self.pruned else ""
            what = f"{self.notes} notes as they were{older}"
        elif self.origin.kind == "external":
            what = f"external: {what}"
        plain = _UNPRINTABLE.sub(" ", what[: 4 * _SUBJECT]).strip() or "(nothing)"
        return plain if len(plain) <= _SUBJECT else plain[: _SUBJECT - 1] + "…"

    def _lines(self) -> str:
        origin = self.origin
        named = {"Chat": origin.chat, "Job": origin.job, "Batch": origin.batch, "Turn": str(origin.turn or "")}
        lines = [f"{name}: {_UNPRINTABLE.sub(' ', value)}\n" for name, value in named.items() if value]
        return "".join([*lines, "\n"]) if lines else ""


def _is_plain(change: RevisedNote) -> bool:
    """Whether the values are of the types that we write."""
    return (
        _is_text(change.path)
        and is_inside(change.path)
        and change.action in get_args(ChangeAction)
        and all(version is None or _is_text(version) for version in (change.before, change.after))
        and (change.mode is None or type(change.mode) is int)
    )


def _is_plain_origin(origin: CommitOrigin) -> bool:
    texts = (origin.author, origin.chat, origin.job, origin.batch, origin.said)
    return all(map(_is_text, texts)) and type(origin.turn) is int


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def action_of(before: object, after: object) -> ChangeAction:
    """The action for a note with these versions before and after, None for no note."""
    return "added" if before is None else "deleted" if after is None else "changed"
