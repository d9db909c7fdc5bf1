"""Undoing several commits as one, as a cancelled chat needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from ..tools import Version
from ._changes import ChangeSet
from ._history._revisions import CommitOrigin


@attrs.frozen
class UndoStep:
    """The changes of one commit.

    Attributes:
        before: path to the content before it; None: no note.
        after: path to the version after it; None: no note.
        made, removed: folders.
        modes: path to the permissions of each note and folder that existed before it.
        lost: notes that it changed and whose content was not kept (see `UndoLog.most_bytes`).
        origin: the author of the commit.
    """

    before: Mapping[str, bytes | None]
    after: Mapping[str, Version | None]
    made: tuple[str, ...]
    removed: tuple[str, ...]
    modes: Mapping[str, int] = attrs.field(factory=dict)
    lost: frozenset[str] = frozenset()
    origin: CommitOrigin = attrs.field(factory=CommitOrigin)


@attrs.define
class UndoLog:
    """Collects the data to undo commits: pass it to each ``Lease.commit``, then to ``Memory.roll_back``.

    It holds the former content of every note that was changed, in RAM.

    Attributes:
        most_bytes: of former contents that are kept of one commit. An incomplete log cannot be rolled back.
    """

    steps: list[UndoStep] = attrs.field(factory=list)
    most_bytes: float = math.inf

    def __bool__(self) -> bool:
        return bool(self.steps)

    def origin(self) -> CommitOrigin:
        """The origin of the commit that undoes these: the same chat or job, so that the history attributes it."""
        origin = self.steps[-1].origin if self.steps else CommitOrigin()
        return attrs.evolve(origin, kind="undo", said="")

    def changes(self) -> ChangeSet:
        """From the state after all the commits to that before the first."""
        before: dict[str, bytes | None] = {}
        modes: dict[str, int] = {}
        made: set[str] = set()
        removed: set[str] = set()
        for step in reversed(self.steps):
            before.update(step.before)
            modes.update(step.modes)
            removed -= set(step.removed)
            made |= set(step.removed)
            made -= set(step.made)
            removed |= set(step.made)
        return ChangeSet(
            writes={path: data for path, data in before.items() if data is not None},
            deletes=frozenset(path for path, data in before.items() if data is None),
            made_dirs=frozenset(made),
            removed_dirs=frozenset(removed),
            modes=modes,
        )

    def versions(self) -> dict[str, Version | None]:
        """The version of each note after all the commits, to detect whether somebody else changed it since."""
        after: dict[str, Version | None] = {}
        for step in self.steps:
            after.update(step.after)
        return after
