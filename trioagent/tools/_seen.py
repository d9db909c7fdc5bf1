"""The notes that a block sees, which its changes are checked against at the commit."""

from __future__ import annotations

from ._version import Version

MAX_SEEN = 4096
"""Notes of one block; beyond that its record is incomplete."""


class SeenLog:
    """The version of each note that a block reads, and the old version of each that it changes.

    Reads of notes that the block has changed itself are not recorded.

    Attributes:
        reads: path to version; None if the note did not exist.
        replaced: path to the version before the first change; None if the note did not exist.
        complete: everything that the block changed is in *replaced*.
    """

    def __init__(self) -> None:
        self.reads: dict[str, Version | None] = {}
        self.replaced: dict[str, Version | None] = {}
        self.complete: bool = True

    def knows(self, path: str) -> bool:
        """Whether nothing more about the note will be recorded."""
        return path in self.replaced or path in self.reads

    def read(self, path: str, version: Version | None) -> None:
        """The block reads a note, or finds that there is none."""
        if path and not self.knows(path) and len(self.reads) < MAX_SEEN:
            self.reads[path] = version

    def change(self, path: str, version: Version | None) -> None:
        """The block is about to change a note that is in this *version* now; an earlier read takes precedence."""
        if path in self.replaced:
            return
        if not path or len(self.replaced) >= MAX_SEEN:
            self.complete = False
            return
        self.replaced[path] = self.reads.get(path, version)

    def clear(self) -> None:
        """Start again."""
        self.reads.clear()
        self.replaced.clear()
        self.complete = True
