"""What one agent has read of a memory: the basis for catching lost updates between its turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .._config import BlindOverwrite
from .._errors import MemoryConflictError, MemoryUnreadError
from ..tools import Version
from ._plan import CommitPlan

MAX_PATHS = 20_000
MAX_CHARS = 2_000_000


@attrs.frozen
class SeenNotes:
    """The notes that a block read or replaced, as its sandbox reports it.

    Attributes:
        reads: path to the version of each note that the block read, None for no note.
        replaced: path to the version of each note that it wrote over, or deleted, without having read it.
        complete: everything that it replaced is in one of the two.
    """

    reads: Mapping[str, Version | None] = attrs.field(factory=dict)
    replaced: Mapping[str, Version | None] = attrs.field(factory=dict)
    complete: bool = False


NOTHING_SEEN = SeenNotes()


@attrs.define
class Knowledge:
    """For each note that the agent's blocks read or wrote, the version that they saw last.

    A version is a hash of the content; clocks and timestamps play no part. A commit applies these rules to every
    note that it would actually change:

    1. A note that this block read must still be in the version that it read. Reads count even if the block is refused,
       as the model is shown what the block read.
    2. Another note that the agent has seen must still be in the version seen last, else somebody's change would be
       lost: conflict.
    3. A note that the agent has never read may be deleted. It may be written over only if *blind_overwrite* allows
       it, and if it has not changed since the block wrote over it.
    4. After a commit the agent has seen what it wrote, and the absence of what it deleted.

    At most 20,000 notes are kept, with at most 2,000,000 characters of paths and versions; those seen longest ago are
    evicted first and then fall under rule 3.

    Attributes:
        seen: path to version, or None for no note.
        blind_overwrite: "refuse" or "allow".
    """

    seen: dict[str, Version | None] = attrs.field(factory=dict)
    blind_overwrite: BlindOverwrite = attrs.field(
        default="refuse", validator=attrs.validators.in_(("refuse", "allow")), kw_only=True
    )

    _chars: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._chars = sum(_chars(path, version) for path, version in self.seen.items()) if self.seen else 0

    def saw(self, path: str, version: Version | None) -> None:
        if path in self.seen:
            self._forget(path)  # so that the dict is ordered by last use
        self.seen[path] = version
        self._chars += _chars(path, version)
        while len(self.seen) > MAX_PATHS or self._chars > MAX_CHARS:
            self._forget(next(iter(self.seen)))

    def _forget(self, path: str) -> None:
        self._chars -= _chars(path, self.seen.pop(path))

    def check(self, plan: CommitPlan, block: SeenNotes) -> None:
        """Refuse a plan that would lose a change that the agent has not seen.

        Raises:
            MemoryConflictError: someone else changed notes since they were read.
            MemoryUnreadError: the plan writes over notes that the agent has never read.
        """
        lost, unread = [], []
        for path in (*plan.deletes, *plan.writes):
            before = plan.before(path)
            present = None if before is None else before.version
            if path in block.reads:
                outdated = block.reads[path] != present
            elif path in self.seen:
                outdated = self.seen[path] != present
            else:
                if path in block.replaced:
                    outdated = block.replaced[path] != present
                else:
                    # The block cannot have seen this note: it is in a folder that the block removed.
                    outdated = path in plan.deletes and block.complete
                if not outdated and present is not None and path in plan.writes and self.blind_overwrite == "refuse":
                    unread.append(path)
            if outdated:
                lost.append(path)
        if lost:
            raise MemoryConflictError(tuple(sorted(lost)))
        if unread:
            raise MemoryUnreadError(tuple(sorted(unread)))

    def to_json(self) -> dict[str, Any]:
        return {"seen": dict(self.seen), "blind_overwrite": self.blind_overwrite}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Knowledge:
        """Inverse of :meth:`to_json`; ValueError if *data* is anything else.

        Data of 0.1 is accepted too. Its versions (inode, time, size) cannot be compared with a hash, so the notes that
        it had seen count as never read; those whose absence it had seen are kept.
        """
        try:
            is_old = "began" in data
            knowledge = cls(blind_overwrite="allow" if is_old else data["blind_overwrite"])
            for path, version in data["seen"].items():
                if version is None or isinstance(version, str):
                    knowledge.saw(path, version)
                elif not is_old or [type(part) for part in version] != [int, int, int]:
                    raise ValueError(f"{version!r} is not a version of a note")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not an agent's knowledge of a memory: {error!r}") from error
        return knowledge


def _chars(path: str, version: Version | None) -> int:
    return len(path) + len(version or "")
