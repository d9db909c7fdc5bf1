"""The block structure of a markdown text, by CommonMark: headings, paragraphs, code. Pure.

Quotes and list items are parsed as far as they decide where a paragraph or code block ends, and whether a line of
``---`` is a heading's underline. HTML blocks and link reference definitions count as paragraphs, which changes
neither headings nor links in the notes that people write.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_UNDERLINE = re.compile(r"(=+|-+)[ \t]*\Z")
_FENCE = re.compile(r"(`{3,})[^`]*\Z|(~{3,})")
_MARKER = re.compile(r"(?:[-+*]|(\d{1,9})[.)])(?=([ \t]*))(?:[ \t]|\Z)")
_PLAIN_START = re.compile(r"[^\s>#\-+*_=`~0-9]")
_QUOTE = -1
_MAX_NESTING = 100  # of quotes and list items; anything deeper is text, so that hostile notes cost little

TEXT, HEADING, FENCED, INDENTED = "text", "heading", "fenced", "indented"


class LeafBlock(NamedTuple):
    """A leaf block.

    Attributes:
        kind: `TEXT` (a paragraph), `HEADING`, `FENCED` or `INDENTED` (code).
        start: its first line, from 0.
        end: the line after its last one.
        depth: in how many quotes and list items it is.
        level: of a heading, 1 to 6.
        text: of a heading, with its markup.
    """

    kind: str
    start: int
    end: int
    depth: int = 0
    level: int = 0
    text: str = ""


def hash_heading(line: str) -> tuple[int, str] | None:
    """The level and text of a ``#`` heading, given a line that begins with ``#``."""
    body = line.lstrip("#")
    level = len(line) - len(body)
    if level > 6 or (body and body[0] not in " \t"):
        return None
    text = body.strip(" \t")
    open_end = text.rstrip("#")
    return level, text if open_end and open_end[-1] not in " \t" else open_end.rstrip(" \t")


def front_matter_end(lines: list[str]) -> int:
    """The number of lines that the front matter takes, 0 without one."""
    if lines[0].rstrip() != "---":
        return 0
    return next((i + 1 for i in range(1, len(lines)) if lines[i].rstrip() in ("---", "...")), 0)


def blocks(lines: list[str]) -> list[LeafBlock]:
    """The leaf blocks of a note after its front matter, in order."""
    parser = _BlockParser()
    for number in range(front_matter_end(lines), len(lines)):
        line = lines[number]
        if not parser.containers and parser.kind in ("", TEXT) and _PLAIN_START.match(line):
            parser.add_text(number, line)
        else:
            parser.add_line(number, line.expandtabs(4) if "\t" in line else line)
    parser.close(len(lines))
    return parser.found


class _Container:
    """An open quote (`width` is `_QUOTE`) or list item, whose content is indented by *width*."""

    __slots__ = ("empty", "width")

    def __init__(self, width: int, empty: bool = False) -> None:
        self.width, self.empty = width, empty


class _BlockParser:
    """Keeps track of the open blocks from line to line (CommonMark's appendix "A parsing strategy")."""

    def __init__(self) -> None:
        self.found: list[LeafBlock] = []
        self.containers: list[_Container] = []
        self.kind = ""  # of the open leaf
        self._start = self._last = 0
        self._fence = ""
        self._texts: list[str] = []

    def add_text(self, number: int, text: str) -> None:
        """A line of a paragraph, the open one or a new one."""
        if self.kind != TEXT:
            self._open(TEXT, number)
        self._texts.append(text)
        self._last = number

    def add_line(self, number: int, line: str) -> None:
        at, matched = self._match(line)
        everything = matched == len(self.containers)
        if self.kind == FENCED:
            if everything:
                self._last = number
                if _indent(line, at) < 4 and _closes(line[at:].strip(), self._fence):
                    self.close(number + 1)
                return
            self.close(number)
        blank = not line[at:].strip()
        if self.kind == INDENTED:
            if everything and (blank or _indent(line, at) >= 4):
                self._last = self._last if blank else number
                return
            self.close(self._last + 1)
        if blank:
            self._blank(number, matched)
        else:
            self._start_blocks(number, line, at, matched)

    def _match(self, line: str) -> tuple[int, int]:
        """Where the content of the open containers begins, and how many of them continue."""
        at = 0
        for count, container in enumerate(self.containers):
            indent = _indent(line, at)
            first = line[at + indent : at + indent + 1]
            if container.width == _QUOTE:
                if indent > 3 or first != ">":
                    return at, count
                at += indent + 1
                at += line[at : at + 1] == " "
            elif not first:
                if container.empty:
                    return at, count
                at = len(line)
            elif indent >= container.width:
                at += container.width
            else:
                return at, count
        return at, len(self.containers)

    def _blank(self, number: int, matched: int) -> None:
        self.close(number)
        # A quote ends at a blank line without a mark; a list item continues, unless it is empty.
        del self.containers[matched:]

    def _start_blocks(self, number: int, line: str, at: int, matched: int) -> None:
        lazy = self.kind == TEXT
        while True:
            indent = _indent(line, at)
            rest = line[at + indent :]
            in_paragraph = lazy and matched == len(self.containers)
            if not rest:
                return
            if indent >= 4:
                if lazy:
                    break
                self._settle(number, matched)
                self._open(INDENTED, number)
                return
            if len(self.containers) >= _MAX_NESTING and matched >= _MAX_NESTING:
                break
            if rest[0] == ">":
                self._settle(number, matched)
                self.containers.append(_Container(_QUOTE))
                at += indent + 1
                at += line[at : at + 1] == " "
            elif rest[0] == "#" and (heading := hash_heading(rest)):
                self._settle(number, matched)
                self.found.append(LeafBlock(HEADING, number, number + 1, len(self.containers), *heading))
                return
            elif rest[0] in "`~" and (fence := _FENCE.match(rest)):
                self._settle(number, matched)
                self._open(FENCED, number)
                self._fence = fence[1] or fence[2]
                return
            elif in_paragraph and (underline := _UNDERLINE.match(rest)):
                level = 1 if underline[1][0] == "=" else 2
                text = " ".join(each.strip() for each in self._texts)
                self.found.append(LeafBlock(HEADING, self._start, number + 1, len(self.containers), level, text))
                self.kind = ""
                return
            elif rest[0] in "*-_" and _is_rule(rest):
                self._settle(number, matched)
                return
            elif (marker := _MARKER.match(rest)) and not (in_paragraph and _cannot_interrupt(rest, marker)):
                self._settle(number, matched)
                size, blanks = len(marker[0].rstrip()), len(marker[2])
                content = rest[size:].strip()
                width = size + (blanks if content and 1 <= blanks <= 4 else 1)
                self.containers.append(_Container(indent + width, empty=not content))
                at = min(at + indent + width, len(line))
            else:
                break
            lazy, matched = False, len(self.containers)
        if not lazy:
            self._settle(number, matched)
        self.add_text(number, rest)

    def _settle(self, number: int, matched: int) -> None:
        """A new block begins: open blocks end, except the containers that it is in."""
        self.close(number)
        del self.containers[matched:]
        if self.containers:
            self.containers[-1].empty = False

    def _open(self, kind: str, number: int) -> None:
        self.close(number)
        self.kind, self._start, self._last, self._texts = kind, number, number, []
        if self.containers:
            self.containers[-1].empty = False

    def close(self, end: int) -> None:
        """The open leaf, if there is one, ends before the line *end*."""
        if self.kind:
            if self.kind != FENCED:
                end = self._last + 1
            self.found.append(LeafBlock(self.kind, self._start, end, len(self.containers)))
        self.kind = ""


def _indent(line: str, at: int) -> int:
    return len(line) - at - len(line[at:].lstrip(" "))


def _is_rule(text: str) -> bool:
    """Whether a line is a thematic break, given one of its marks at its start."""
    return not text.rstrip(f"{text[0]} \t") and text.count(text[0]) >= 3


def _closes(text: str, fence: str) -> bool:
    return text.startswith(fence) and not text.strip(fence[0])


def _cannot_interrupt(rest: str, marker: re.Match[str]) -> bool:
    """A paragraph is not ended by a list item without content, or by a number other than 1."""
    return not rest[marker.end() :].strip() or (marker[1] is not None and int(marker[1]) != 1)
