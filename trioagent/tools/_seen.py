"""What a block sees of the notes: what its changes are judged against when they are to be committed."""

from __future__ import annotations

from ._version import Version

MAX_SEEN = 4096
"""Notes of one block; beyond that its record is not complete."""


class SeenLog:
    """The version of each note that a block reads, and of each that it changes as it was before.

    What the block changed itself it does not read any more: that is its own.

    Attributes:
        reads: path to version; None where the block looked for a note in vain.
        replaced: path to the version before the first change; None where there was no note.
        complete: everything that the block changed is in *replaced*.
    """

    def __init__(self) -> None:
        self.reads: dict[str, Version | None] = {}
        self.replaced: dict[str, Version | None] = {}
        self.complete: bool = True

    def knows(self, path: str) -> bool:
        """Whether nothing that happens to the note from here on would be recorded."""
        return path in self.replaced or path in self.reads

    def read(self, path: str, version: Version | None) -> None:
        """The block reads a note, or finds that there is none."""
        if path and not self.knows(path) and len(self.reads) < MAX_SEEN:
            self.reads[path] = version

    def change(self, path: str, version: Version | None) -> None:
        """The block is about to change a note that is in this *version* now; what it has read of it counts more."""
        if path in self.replaced:
            return
        if not path or len(self.replaced) >= MAX_SEEN:
            self.complete = False
            return
        self.replaced[path] = self.reads.get(path, version)

    def clear(self) -> None:
        """Begin anew."""
        self.reads.clear()
        self.replaced.clear()
        self.complete = True
