"""What one agent has seen of a memory: the basis for catching lost updates between its turns."""

from __future__ import annotations

import time
from typing import Any

import attrs

from ._paths import Version

MAX_PATHS = 20_000


@attrs.define
class Knowledge:
    """For each note that the agent's blocks read or wrote, the version they last saw, and when the agent began.

    The rules, applied by a commit to every note that it would really change:

    1. What this block itself read is current: the lease was held while it ran. Reads count even if the block is
       refused, as the model is shown what the block read.
    2. A note seen before must still be in the version seen last, else somebody's change would be lost: conflict.
    3. A note never seen must not have been changed since the agent began: two agents that both create ``a.md``
       conflict, while a new agent may replace what lay there before it.
    4. After a commit the agent has seen what it wrote, and the absence of what it deleted.

    At most 20,000 notes are kept; the oldest are forgotten first and then fall under rule 3, which refuses more, never
    less.

    Attributes:
        began: nanoseconds since the epoch.
        seen: path to version, or None where there was no note.
    """

    began: int = attrs.field(factory=time.time_ns)
    seen: dict[str, Version | None] = attrs.field(factory=dict)

    def saw(self, path: str, version: Version | None) -> None:
        self.seen.pop(path, None)  # so that the order of the dict is the order of seeing
        self.seen[path] = version
        if len(self.seen) > MAX_PATHS:
            del self.seen[next(iter(self.seen))]

    def is_outdated(self, path: str, present: Version | None) -> bool:
        """Would overwriting or deleting the note, now in version *present*, lose a change the agent has not seen?"""
        if path in self.seen:
            return self.seen[path] != present
        return present is not None and present[1] > self.began

    def to_json(self) -> dict[str, Any]:
        return {"began": self.began, "seen": {path: version and list(version) for path, version in self.seen.items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Knowledge:
        """Inverse of :meth:`to_json`; ValueError if *data* is anything else."""
        try:
            began, seen = data["began"], data["seen"]
            knowledge = cls(began=_whole(began))
            for path, version in seen.items():
                inode, changed, size = version or (0, 0, 0)
                knowledge.saw(path, version and (_whole(inode), _whole(changed), _whole(size)))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not an agent's knowledge of a memory: {error!r}") from error
        return knowledge


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value
