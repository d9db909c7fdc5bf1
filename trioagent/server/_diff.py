"""The changes of a note, line by line, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import attrs

from ..tools import NoteText

MOST_LINES = 3_000
"""Lines of each side that are compared; the time of a comparison is proportional to the product of the two."""
MOST_BYTES = 256 * 1024
_CONTEXT = 3
_MOST_PAIRS = 10_000_000  # of lines: some seconds of a thread, where hardly any line is alike
_MOST_TOGETHER = 4 * 1024 * 1024  # bytes: many notes may have the same large content
_MOST_SHOWN = 20_000  # lines, for a browser that makes something of each


@attrs.frozen
class DiffHunk:
    """Changed lines, with some context around them.

    Attributes:
        before, after: the number of the first line in the old and the new text, from 1.
        lines: a sign and a text each: " " in both, "-" only in the old text, "+" only in the new one.
    """

    before: int
    after: int
    lines: Sequence[tuple[str, str]]


@attrs.define
class DiffWork:
    """What the comparisons of one answer may cost together.

    Attributes:
        pairs: of lines that may yet be compared.
        room: bytes of contents that may yet be looked at.
        lines: that may yet be shown.
    """

    pairs: int = _MOST_PAIRS
    room: int = _MOST_TOGETHER
    lines: int = _MOST_SHOWN

    def may_look_at(self, *contents: bytes | None) -> bool:
        """Whether there is room for these; then it is taken."""
        size = sum(min(len(content), MOST_BYTES) for content in contents if content is not None)
        if size > self.room:
            return False
        self.room -= size
        return True

    def may_show(self, hunks: Sequence[DiffHunk]) -> bool:
        """Whether there is room for these; then it is taken."""
        lines = sum(len(hunk.lines) for hunk in hunks)
        if lines > self.lines:
            return False
        self.lines -= lines
        return True

    def may_compare(self, pairs: int) -> bool:
        """Whether so many are left; then they are taken."""
        if pairs > self.pairs:
            return False
        self.pairs -= pairs
        return True


def diff_notes(before: bytes | None, after: bytes | None, work: DiffWork | None = None) -> list[DiffHunk]:
    """Compare two contents; None means that the note does not exist.

    Args:
        work: the limit for several comparisons together; when it is used up, the whole old text is shown as deleted
            and the whole new text as added.
    """
    old, new = _lines(before), _lines(after)
    if old == new:
        return []
    if max(len(old), len(new)) > MOST_LINES or not (work is None or work.may_compare(len(old) * len(new))):
        removed = [("-", line) for line in old[:MOST_LINES]]
        return [DiffHunk(1, 1, [*removed, *(("+", line) for line in new[:MOST_LINES])])]
    hunks = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(_CONTEXT):
        lines: list[tuple[str, str]] = []
        for kind, a, b, c, d in group:
            if kind == "equal":
                lines += [(" ", line) for line in old[a:b]]
                continue
            lines += [("-", line) for line in old[a:b]]
            lines += [("+", line) for line in new[c:d]]
        hunks.append(DiffHunk(group[0][1] + 1, group[0][3] + 1, lines))
    return hunks


def _lines(data: bytes | None) -> list[str]:
    if not data:
        return []
    return NoteText(data[:MOST_BYTES]).shown.removesuffix("\n").split("\n")
