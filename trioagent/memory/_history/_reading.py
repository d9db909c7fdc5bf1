"""Reading a store: revisions, diffs, notes as they were, who wrote which line, and the data to undo changes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from ..._errors import InvalidInputError, MemoryConflictError, MemoryHistoryError, RevisionNotFoundError
from ...tools import Version
from .._undo import UndoLog, UndoStep
from ._git import Git
from ._messages import CommitData
from ._revisions import BlameLine, CommitOrigin, HistoryDiff, NoteContent, RevisedNote, Revision
from ._store import all_data

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_ID = re.compile(r"[0-9a-f]{4,40}")
_DIFF_CHARS = 1_000_000
_DIFF_OPTIONS = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")


def _names_one(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise InvalidInputError(attribute.name, f"must be the id of one, not {value!r:.200}")


def _counts_one(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidInputError(attribute.name, f"must be the number of a message, from 1, not {value!r:.200}")


@attrs.frozen(kw_only=True)
class Selection:
    """Selects commits: those of one chat (or of a message in it), one job or one batch."""

    chat: str | None = attrs.field(default=None, validator=_names_one)
    turn: int | None = attrs.field(default=None, validator=_counts_one)
    job: str | None = attrs.field(default=None, validator=_names_one)
    batch: str | None = attrs.field(default=None, validator=_names_one)

    def given(self) -> dict[str, str | int]:
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    def matches(self, data: CommitData) -> bool:
        return all(getattr(data.origin, name) == value for name, value in self.given().items())

    def options(self) -> list[str]:
        """Options for ``git log``: only messages that can match."""
        found = [f"--grep={json.dumps(name)}: {json.dumps(value)}" for name, value in self.given().items()]
        return ["--fixed-strings", "--all-match", *found] if found else []

    def origin(self, said: str) -> CommitOrigin:
        """Of the commit that undoes them: it belongs to the same chat or job."""
        given = CommitOrigin(kind="undo", said=said, chat=self.chat or "", job=self.job or "", batch=self.batch or "")
        return attrs.evolve(given, turn=self.turn or 0)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.given().items())


def resolve(git: Git, at: str | None) -> str:
    """Resolve a revision: the first digits of an id, or a time; the newest one for None.

    Raises:
        RevisionNotFoundError: there is none.
    """
    head = git.head()
    if at is None:
        if not head:
            raise RevisionNotFoundError(git.memory, "newest")
        return head
    found = None
    if head and _ID.fullmatch(at):
        found = git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{at}^{{commit}}", missing=True)
        if found and git.output("merge-base", "--is-ancestor", found.decode().strip(), head, missing=True) is None:
            found = None
    elif head and (moment := _moment(at)) is not None:
        found = git.output("rev-list", "--max-count=1", f"--before={moment}", head)
    if not found or not found.strip():
        raise RevisionNotFoundError(git.memory, at)
    return found.decode().strip()


def _moment(at: str) -> int | None:
    try:
        return int(datetime.fromisoformat(at).timestamp())  # a time without a zone is local
    except (ValueError, OverflowError, OSError):
        return None


def log(git: Git, path: str | None, limit: int, before: str | None, selection: Selection) -> tuple[Revision, ...]:
    """The newest revisions, newest first."""
    if not git.head():
        return ()
    start = resolve(git, before)
    count = limit if before is None else limit + 1
    options = [f"--max-count={count}", *selection.options(), start]
    found = []
    for ids, data in all_data(git, *options, *(() if path is None else ("--", path))):
        revision = ids.split()[0]
        if data is None:
            data = CommitData(sequence=0, time=0, origin=CommitOrigin(kind="external"))
        if selection.matches(data) and (before is None or revision != start):
            found.append(data.revision(revision))
    return tuple(found[:limit])


def diff(git: Git, path: str | None, since: str | None, at: str | None) -> HistoryDiff:
    """The difference between two revisions: by default what the newest one changed, of one note or of all."""
    newer = resolve(git, at)
    only = () if path is None else ("--", path)
    if at is None and since is None and path is not None:
        last = git.text("rev-list", "--max-count=1", newer, *only)
        if not last:
            raise RevisionNotFoundError(git.memory, newer, path)
        newer = last
    if since is not None:
        older = resolve(git, since)
    else:
        parent = git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{newer}^", missing=True)
        older = "" if parent is None else parent.decode().strip()
    output = git.output("diff", *_DIFF_OPTIONS, older or _EMPTY_TREE, newer, *only) or b""
    text = output.decode("utf-8", "replace")
    return HistoryDiff(since=older, at=newer, text=text[:_DIFF_CHARS], truncated=len(text) > _DIFF_CHARS)


def show(git: Git, path: str, at: str | None) -> NoteContent:
    """A note as it was."""
    revision = resolve(git, at)
    data = git.output("cat-file", "blob", f"{revision}:{path}", missing=True)
    if data is None:
        raise RevisionNotFoundError(git.memory, at or revision, path)
    return NoteContent.of(path, revision, data)


def blame(git: Git, path: str, at: str | None) -> tuple[BlameLine, ...]:
    """Each line of a note with the revision that last changed it."""
    revision = resolve(git, at)
    output = git.output("blame", "--line-porcelain", revision, "--", path, missing=True)
    if output is None:
        raise RevisionNotFoundError(git.memory, at or revision, path)
    lines: list[BlameLine] = []
    fields: dict[str, str] = {}
    for line in output.split(b"\n"):
        if line.startswith(b"\t"):
            lines.append(
                BlameLine(
                    line=len(lines) + 1,
                    text=line[1:].decode("utf-8", "replace"),
                    revision=fields["id"],
                    author=fields.get("author", ""),
                    time=float(fields.get("author-time", "0")),
                )
            )
            fields = {}
        elif line:
            name, _, value = line.decode("utf-8", "replace").partition(" ")
            if not fields:
                fields["id"] = name
            else:
                fields[name] = value
    return tuple(lines)


def mode_before_deletion(git: Git, path: str) -> int | None:
    """The permissions that a note had when it was last deleted; None if unknown."""
    for _, data in all_data(git, git.head(), "--", path):
        for change in data.changes if data is not None else ():
            if change.path == path and change.action == "deleted":
                return change.mode
    return None


def undo_of(git: Git, selection: Selection) -> tuple[UndoLog, int]:
    """What is needed to undo the selected commits, and their number.

    Raises:
        MemoryConflictError: others changed some of their notes in between.
        MemoryHistoryError: an earlier content of a note was not kept.
    """
    if not git.head():
        return UndoLog(), 0
    found = [
        (ids.split()[0], data)
        for ids, data in reversed(all_data(git, *selection.options(), git.head()))
        if data is not None and selection.matches(data)
    ]
    old_blobs = _blobs_before(git, [revision for revision, _ in found])
    first: dict[str, tuple[RevisedNote, str | None]] = {}
    last: dict[str, Version | None] = {}
    changed_by_others: set[str] = set()
    for revision, data in found:
        for change in data.changes:
            if change.path in last and last[change.path] != change.before:
                changed_by_others.add(change.path)
            first.setdefault(change.path, (change, old_blobs.get((revision, change.path))))
            last[change.path] = change.after
    if changed_by_others:
        raise MemoryConflictError(tuple(sorted(changed_by_others)))
    lost = sorted(path for path, (change, blob) in first.items() if change.before is not None and blob is None)
    if lost:
        raise MemoryHistoryError(git.memory, f"the old content of {', '.join(lost[:20])} was not kept, or is forgotten")
    contents = _contents(git, sorted({blob for _, blob in first.values() if blob is not None}))
    steps = []
    for _, data in found:
        own = {change.path: first.pop(change.path) for change in data.changes if change.path in first}
        steps.append(
            UndoStep(
                before={path: None if blob is None else contents[blob] for path, (_, blob) in own.items()},
                after={change.path: change.after for change in data.changes},
                made=data.made,
                removed=tuple(data.removed),
                modes={
                    **{path: change.mode for path, (change, _) in own.items() if change.mode is not None},
                    **{path: mode for path, mode in data.removed.items() if mode is not None},
                },
            )
        )
    return UndoLog(steps), len(found)


def _blobs_before(git: Git, revisions: Sequence[str]) -> dict[tuple[str, str], str]:
    """The git hash of each note before a revision changed it; only notes that existed."""
    given = "".join(f"{revision}\n" for revision in revisions).encode()
    output = git.output("diff-tree", "--stdin", "-r", "-z", "--root", "--no-renames", given=given) or b""
    blobs, revision, tokens = {}, "", iter(output.split(b"\0"))
    for token in tokens:
        if token.startswith(b":"):
            _, _, old, _, _ = token.split(b" ")
            path = os.fsdecode(next(tokens))
            if old.strip(b"0"):
                blobs[revision, path] = old.decode()
        else:
            revision = token.decode()
    return blobs


def _contents(git: Git, blobs: Sequence[str]) -> dict[str, bytes]:
    output = git.output("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode()) or b""
    contents, at = {}, 0
    for blob in blobs:
        end = output.index(b"\n", at)
        fields = output[at:end].split()
        if len(fields) != 3:
            raise MemoryHistoryError(git.memory, f"its store lacks the object {blob}")
        size = int(fields[2])
        contents[blob] = output[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return contents
