"""The results of reading a memory's history, as plain data that a server can send as JSON."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Literal

import attrs

from ..._errors import InvalidInputError
from ...tools import Version

RevisionKind = Literal["agent", "external", "baseline", "restore", "undo"]
ChangeAction = Literal["added", "changed", "deleted"]
MIB = 1024 * 1024


def _positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not int or value < 1:
        raise InvalidInputError(attribute.name, f"must be a whole number above 0, not {value!r:.200}")


def _folder(value: str | os.PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value).expanduser().absolute()


@attrs.frozen(kw_only=True)
class HistoryConfig:
    """How the history of a memory is kept.

    Attributes:
        folder: where; None for ``.trioagent/history`` in the memory. A folder belongs to one memory.
        keep_messages: keep with each commit the message to the agent.
        max_bytes: of the history on the disk. Above it the oldest revisions are dropped, and the
            logger ``trioagent`` reports which.
    """

    folder: Path | None = attrs.field(default=None, converter=_folder)
    keep_messages: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    max_bytes: int = attrs.field(default=512 * MIB, validator=_positive)


HistorySetting = bool | str | os.PathLike[str] | HistoryConfig
"""``True``, a folder, or a `HistoryConfig`; ``False`` for no history."""


def history_config(setting: object) -> HistoryConfig | None:
    """The configuration that a setting means.

    Raises:
        InvalidInputError: it is not a valid setting.
    """
    if isinstance(setting, bool):
        return HistoryConfig() if setting else None
    if isinstance(setting, HistoryConfig):
        return setting
    if isinstance(setting, str | os.PathLike) and os.fspath(setting):
        return HistoryConfig(folder=Path(setting))
    raise InvalidInputError("history", f"must be True, False, a folder or a HistoryConfig, not {setting!r:.200}")


@attrs.frozen(kw_only=True)
class CommitOrigin:
    """Who makes a commit and why, as recorded in the history.

    Attributes:
        author: the name of the agent, such as that of its model.
        chat: the conversation that it belongs to.
        job, batch: the job of a batch.
        turn: the number of the user's message in that conversation, from 1.
        said: that message.
        kind: the kind of commit.
    """

    author: str = ""
    chat: str = ""
    job: str = ""
    batch: str = ""
    turn: int = 0
    said: str = ""
    kind: RevisionKind = "agent"


@attrs.frozen
class RevisedNote:
    """What a revision did to one note.

    Attributes:
        path: relative to the memory.
        action: "added", "changed" or "deleted".
        before, after: the versions (see `Knowledge`), None where there was no note.
        mode: the permissions that the note had before, None where there was none.
    """

    path: str
    action: ChangeAction
    before: Version | None = None
    after: Version | None = None
    mode: int | None = None


@attrs.frozen(kw_only=True)
class Revision:
    """One commit in the history.

    Attributes:
        id: 40 hexadecimal digits; the first 7 are usually enough. ``forget`` and pruning change the ids of the
            revisions that they keep.
        time: seconds since 1970.
        kind: "agent"; "external" for changes by others; "baseline" for the notes as they were before the first
            commit; "restore" and "undo" for commits that restore notes.
        author: the agent's name, or the kind.
        chat, job, batch, turn, said: see `CommitOrigin`.
        changes: the notes that it changed. Of a baseline they are not listed.
        notes: how many notes it changed, or are in a baseline.
        left_out: notes whose content was too large to be kept.
        pruned: how many older revisions were dropped, in a baseline that pruning made.
    """

    id: str
    time: float
    kind: RevisionKind
    author: str
    chat: str = ""
    job: str = ""
    batch: str = ""
    turn: int = 0
    said: str = ""
    changes: tuple[RevisedNote, ...] = ()
    notes: int = 0
    left_out: tuple[str, ...] = ()
    pruned: int = 0


@attrs.frozen(kw_only=True)
class HistoryDiff:
    """The difference between two revisions.

    Attributes:
        since: the older revision's id; "" for before the first one.
        at: the newer one's.
        text: a unified diff in git's format.
        truncated: the text is truncated after 1,000,000 characters.
    """

    since: str
    at: str
    text: str
    truncated: bool = False


@attrs.frozen(kw_only=True)
class NoteContent:
    """A note as it was at a revision.

    Attributes:
        path: relative to the memory.
        revision: the revision's id.
        encoding: of *content*: "utf-8", or "base64" for binary content.
        content: the whole note.
    """

    path: str
    revision: str
    encoding: Literal["utf-8", "base64"]
    content: str

    @classmethod
    def of(cls, path: str, revision: str, data: bytes) -> NoteContent:
        try:
            return cls(path=path, revision=revision, encoding="utf-8", content=data.decode())
        except UnicodeDecodeError:
            text = base64.b64encode(data).decode()
            return cls(path=path, revision=revision, encoding="base64", content=text)

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        return self.content.encode() if self.encoding == "utf-8" else base64.b64decode(self.content)


@attrs.frozen(kw_only=True)
class BlameLine:
    """Who last changed a line of a note.

    Attributes:
        line: its number, from 1.
        text: its text, without the line break.
        revision: the id of the revision that it comes from.
        author: that revision's author.
        time: when that was, seconds since 1970.
    """

    line: int
    text: str
    revision: str
    author: str
    time: float


@attrs.frozen(kw_only=True)
class UndoneChanges:
    """The result of an undo.

    Attributes:
        revisions: how many commits were undone.
        paths: the notes that were restored.
        changed: whether any notes changed; False if they were restored already.
    """

    revisions: int
    paths: tuple[str, ...]
    changed: bool


@attrs.frozen(kw_only=True)
class ForgottenNote:
    """The result of forgetting a note, or a folder of notes.

    Attributes:
        path: the note or folder.
        paths: the notes whose former contents were removed.
        revisions: how many commits had changed them.
    """

    path: str
    paths: tuple[str, ...]
    revisions: int


@attrs.frozen(kw_only=True)
class HistoryUpdate:
    """The result of updating the store.

    Attributes:
        commits: how many of the agents' commits were added.
        external: how many for changes by others.
        pruned: how many of the oldest revisions were dropped to stay within the size limit.
    """

    commits: int = 0
    external: int = 0
    pruned: int = 0
