"""A block's changes to the notes as plain data: the one form in which changes leave any sandbox tier."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class ChangeSet:
    """Changes relative to the memory's root; paths are ``/``-separated, normalised, without a leading ``/``.

    Attributes:
        writes: the whole new content of every note made or changed.
        deletes: deleted notes.
        made_dirs: new folders (parents of written notes need not be listed).
        removed_dirs: removed folders; every note in them is listed in ``deletes``, every folder in them here.
        modes: permissions of new notes and folders; those that are not listed get the default ones. For the
            host only: no sandbox sets them.
    """

    writes: Mapping[str, bytes] = attrs.field(factory=dict)
    deletes: frozenset[str] = frozenset()
    made_dirs: frozenset[str] = frozenset()
    removed_dirs: frozenset[str] = frozenset()
    modes: Mapping[str, int] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.writes or self.deletes or self.made_dirs or self.removed_dirs)

    def __len__(self) -> int:
        return len(self.writes) + len(self.deletes) + len(self.made_dirs) + len(self.removed_dirs)


@attrs.frozen
class NoteChange:
    """What a commit would do to one note.

    Attributes:
        path: relative to the memory.
        before: its present content; None if there is no note.
        after: its new content; None if it would be deleted.
    """

    path: str
    before: bytes | None
    after: bytes | None
