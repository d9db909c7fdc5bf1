"""Unified diffs as models write them, applied the way ``patch`` would, but all hunks or nothing. Pure.

Accepted: code fences around the diff, missing or odd file headers, hunk headers with wrong counts, wrong or missing
line numbers, no hunk header at all, context lines without their space, blanks at the ends of lines, and (last) up to
two context lines at either end of a hunk that are not in the note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ._results import Refused
from ._text import cut

_HUNK = re.compile(r"@@+(?:\s*-(\d+)(?:,(\d+))?\s+\+(\d+)(?:,(\d+))?)?")
_GIT = re.compile(
    r"(diff --git |diff -|index [0-9a-f]+\.\.|new file mode |deleted file mode |old mode |new mode "
    r"|similarity index |rename from |rename to )"
)
_FUZZ = 2


class Hunk:
    """One change.

    Attributes:
        line: 1-based line of the old text where it starts, or None if the diff does not say.
        ops: (sign, text) pairs, the sign one of space, minus, plus.
        ends_bare: whether the new text ends without a line end, or None if the diff does not say.
    """

    __slots__ = ("ends_bare", "line", "ops")

    def __init__(self, line: int | None = None) -> None:
        self.line = line
        self.ops: list[tuple[str, str]] = []
        self.ends_bare: bool | None = None

    def old(self) -> list[str]:
        return [text for sign, text in self.ops if sign != "+"]


def parse(diff: str) -> tuple[list[Hunk], bool]:
    """The hunks of a diff, and whether it says that the note is new (``--- /dev/null``)."""
    lines = _unfenced(diff)
    hunks: list[Hunk] = []
    hunk: Hunk | None = None
    left_old = left_new = 0
    is_new, names = False, set[str]()
    i = 0
    while i < len(lines):
        line = lines[i]
        in_count = hunk is not None and (left_old > 0 or left_new > 0)
        header = _HUNK.match(line)
        if header:
            start = int(header[1]) if header[1] else None
            left_old = int(header[2] or 1) if header[1] else 0
            left_new = int(header[4] or 1) if header[1] else 0
            # "-5,0" names the line after which lines are added.
            hunk = Hunk(start + 1 if start is not None and header[2] == "0" else start)
            hunks.append(hunk)
        elif not in_count and _is_file_header(lines, i):
            is_new = is_new or line.split() == ["---", "/dev/null"]
            names.add(_file_name(lines[i + 1]))
            hunk = None
            i += 1
        elif hunk is None and (_GIT.match(line) or not line.strip() or line.startswith(("--- ", "+++ "))):
            is_new = is_new or line.split() == ["---", "/dev/null"]
        elif line.startswith("\\"):
            if hunk is not None and hunk.ops:
                sign = hunk.ops[-1][0]
                hunk.ends_bare = sign != "-" if hunk.ends_bare is None or sign != "-" else hunk.ends_bare
        elif not in_count and _GIT.match(line):
            hunk = None
        else:
            if hunk is None:
                if line[0] not in "+- ":
                    i += 1  # prose before the diff
                    continue
                hunk = Hunk()
                hunks.append(hunk)
            sign, text = (line[0], line[1:]) if line[:1] in ("+", "-", " ") else (" ", line)
            hunk.ops.append((sign, text))
            left_old -= sign != "+"
            left_new -= sign != "-"
        i += 1
    if len(names) > 1:
        raise Refused(f"the diff is about several notes ({', '.join(sorted(names))}); call write_to_file once for each")
    for each in hunks:
        _drop_blank_tail(each)
    return [each for each in hunks if any(sign != " " for sign, _ in each.ops)], is_new


def apply(note: Sequence[str], diff: str) -> tuple[list[int | str], bool | None]:
    """Apply *diff* to a note.

    Args:
        note: the note's lines, without line ends.

    Returns:
        the new lines, each the index of an old line that stays or the text of a new one; and whether the last line has
        no line end (None: the diff does not say).
    """
    hunks, is_new = parse(diff)
    if not hunks:
        raise Refused(
            "the diff has no lines that start with + or -; write it as a unified diff, such as "
            "'@@ -1,2 +1,2 @@\\n # Ada\\n-- city: Paris\\n+- city: Berlin', or use update_file"
        )
    if is_new and note:
        raise Refused("the diff says that the note is new (--- /dev/null), but it has text; give context lines")
    lines = _Note(note)
    placed: list[tuple[int, int, list[tuple[str, str]]]] = []
    offset, ends_bare = 0, None
    for number, hunk in enumerate(hunks, 1):
        start, ops = _place(lines, hunk, offset, number, len(hunks))
        if hunk.line is not None:
            offset = start - (hunk.line - 1)
        at = start
        for sign, _ in ops:
            if sign != "+":
                lines.uses[at] = max(lines.uses[at], _REMOVED if sign == "-" else _CONTEXT)
                at += 1
        placed.append((start, at, ops))
        if at == len(note) and hunk.ends_bare is not None:
            ends_bare = hunk.ends_bare
    added: dict[int, list[str]] = {}  # by the old line before which they are inserted
    for start, _, ops in sorted(placed, key=lambda each: each[:2]):
        at = start
        for sign, text in ops:
            if sign == "+":
                added.setdefault(at, []).append(text)
            else:
                at += 1
    result: list[int | str] = []
    for at in range(len(note) + 1):
        result += added.get(at, ())
        if at < len(note) and lines.uses[at] != _REMOVED:
            result.append(at)
    return result, ends_bare


def _unfenced(diff: str) -> list[str]:
    lines = [line.removesuffix("\r") for line in diff.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    marks = [i for i, line in enumerate(lines) if line.startswith("```")]
    if marks and not any(line.strip() for line in lines[: marks[0]]):
        last = len(lines) - 1
        while last > marks[0] and not lines[last].strip():
            last -= 1
        return lines[marks[0] + 1 : last if last in marks[1:] else None]
    return lines


def _is_file_header(lines: list[str], i: int) -> bool:
    return lines[i].startswith("--- ") and i + 1 < len(lines) and lines[i + 1].startswith("+++ ")


def _file_name(line: str) -> str:
    name = line[4:].split("\t")[0].strip()
    return name.removeprefix("b/")


def _drop_blank_tail(hunk: Hunk) -> None:
    """Blank lines at a hunk's end are the end of the model's text, not context."""
    while hunk.ops and hunk.ops[-1] == (" ", ""):
        hunk.ops.pop()


_LEVELS: tuple[Callable[[str], str], ...] = (str, str.rstrip, lambda line: " ".join(line.split()))
"""How lines are compared, the strictest first: exactly, without trailing blanks, with single blanks."""


_UNUSED, _CONTEXT, _REMOVED = range(3)


class _Note:
    """A note's lines in each form in which they are compared, and what the hunks so far do with them.

    A line that is context in one hunk may be in another hunk as well; one that is removed may not.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.uses = [_UNUSED] * len(lines)
        self._forms: list[list[str]] = []

    def places(self, wanted: list[str], level: int) -> list[int]:
        """Every index at which the lines *wanted* are together, none of them removed."""
        while len(self._forms) <= level:
            self._forms.append([_LEVELS[len(self._forms)](line) for line in self.lines])
        lines = self._forms[level]
        wanted = [_LEVELS[level](line) for line in wanted]
        size = len(wanted)
        # The longest line is usually the rarest: search for it first.
        key = max(range(size), key=lambda i: len(wanted[i]))
        found: list[int] = []
        at = key - 1
        while True:
            try:
                at = lines.index(wanted[key], at + 1, len(lines) - size + key + 1)
            except ValueError:
                return found
            start = at - key
            if lines[start : start + size] == wanted and _REMOVED not in self.uses[start : start + size]:
                found.append(start)

    def is_shared(self, start: int, size: int) -> bool:
        """Whether another hunk has one of these lines as context."""
        return any(self.uses[start : start + size])


def _place(note: _Note, hunk: Hunk, offset: int, number: int, total: int) -> tuple[int, list[tuple[str, str]]]:
    """Where the hunk applies (0-based) and its ops, which lose context lines if it does not match otherwise."""
    expected = None if hunk.line is None else max(0, hunk.line - 1 + offset)
    if not hunk.old():
        size = len(note.lines)
        return (size if expected is None else min(expected, size)), hunk.ops
    for fuzz in range(_FUZZ + 1):
        trimmed = _without_context(hunk.ops, fuzz)
        if trimmed is None:
            break
        skipped, ops = trimmed
        wanted = [text for sign, text in ops if sign != "+"]
        if not wanted:
            break
        for level in range(len(_LEVELS)):
            places = note.places(wanted, level)
            if not places:
                continue
            if expected is None and len(places) > 1:
                places = [place for place in places if not note.is_shared(place, len(wanted))] or places
            if expected is None and len(places) > 1:
                found = ", ".join(str(place + 1) for place in places[:5])
                raise Refused(
                    f"hunk {number} of {total} fits at {len(places)} places (lines {found}); "
                    "give more context lines or the line number (@@ -12,3 +12,4 @@). Nothing was changed"
                )
            goal = (expected or 0) + skipped
            shared = {place: note.is_shared(place, len(wanted)) for place in places}
            return min(places, key=lambda place: (abs(place - goal), shared[place], place)), ops
    raise Refused(_misfit(note.lines, hunk, number, total))


def _without_context(ops: list[tuple[str, str]], fuzz: int) -> tuple[int, list[tuple[str, str]]] | None:
    """(lines skipped, ops) with up to *fuzz* context lines removed at both ends, None if there are not that many."""
    changed = [i for i, (sign, _) in enumerate(ops) if sign != " "]
    head, tail = min(fuzz, changed[0]), min(fuzz, len(ops) - 1 - changed[-1])
    if fuzz and max(head, tail) < fuzz:
        return None
    return head, ops[head : len(ops) - tail]


def _misfit(note: Sequence[str], hunk: Hunk, number: int, total: int) -> str:
    present = {line.strip() for line in note}
    missing = next((text for text in hunk.old() if text.strip() and text.strip() not in present), None)
    if missing is None:
        why = "its lines are in the note, but not together in this order"
    else:
        why = f"the note has no line {cut(missing, 200)!r}"
    return (
        f"hunk {number} of {total} does not fit: {why}. Nothing was changed. "
        "Read the note with read_file and write the diff again, or use update_file"
    )
