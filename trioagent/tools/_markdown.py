"""The parts of a markdown note that links can point into: headings with their sections, and blocks. Pure.

Rules follow Obsidian (https://help.obsidian.md/links): a section runs to the next heading of the same or a higher
level; a block is the paragraph or list item that ends with `` ^id``, or the one before a line that is only ``^id``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from ._text import squash

_FENCE = re.compile(r"[ \t>]*(?:[-*+]\s+|\d+[.)]\s+)?(`{3,}|~{3,})(.*)")
_TICKS = re.compile(r"`+")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_COMMENT = re.compile("%%|<!--")
_NOT_NEWLINE = re.compile(r"[^\n]")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\Z")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\Z")
_STRIPPED = re.compile(r"[!\"#$%&()*+,.:;<=>?@^`{|}~/\[\]\\]")
_ITEM = re.compile(r"([ \t>]*)(?:[-*+]|\d{1,9}[.)])(?:[ \t]|\Z)")
_NO_PARAGRAPH = re.compile(r"\s*(?:[-*+>|]\s|\d+[.)]\s|\||>|#{1,6}\s|\Z)")
_BLOCK_ID = re.compile(r"(?:^|(?<=\s))\^([A-Za-z0-9_-]+)[ \t]*\Z")


class Heading(NamedTuple):
    """A heading: its 0-based line, its level from 1 (``#``) to 6, and its text."""

    line: int
    level: int
    text: str


def fences(lines: list[str]) -> list[bool]:
    """For each line, whether it is part of a fenced code block (the fences count)."""
    inside: list[bool] = []
    fence = ""
    for line in lines:
        match = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence:
            inside.append(True)
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            inside.append(True)
        else:
            inside.append(False)
    return inside


def without_code(text: str) -> str:
    """*text* with code and comments blanked out; every other character keeps its place."""
    if "```" in text or "~~~" in text:
        lines = text.split("\n")
        text = "\n".join(" " * len(line) if coded else line for line, coded in zip(lines, fences(lines), strict=True))
    if "`" in text:
        text = _without_code_spans(text)
    if "%%" in text or "<!--" in text:
        text = _without_comments(text)
    return text


def _blank(text: str) -> str:
    return _NOT_NEWLINE.sub(" ", text)


def _without_comments(text: str) -> str:
    parts: list[str] = []
    at = done = 0
    closers = {"%%": "%%", "<!--": "-->"}
    while match := _COMMENT.search(text, at):
        closer = closers.get(match[0])
        end = text.find(closer, match.end()) if closer else -1
        if end < 0:
            closers.pop(match[0], None)  # none of this kind is closed from here on
            at = match.end()
            continue
        at = end + len(closer or "")
        parts += [text[done : match.start()], _blank(text[match.start() : at])]
        done = at
    return "".join([*parts, text[done:]])


def _without_code_spans(text: str) -> str:
    """Blank spans between runs of equally many backticks in one paragraph (CommonMark 6.1)."""
    runs = [(match.start(), match.end()) for match in _TICKS.finditer(text)]
    by_size: dict[int, list[int]] = {}
    for start, end in runs:
        by_size.setdefault(end - start, []).append(start)
    breaks = [match.start() for match in _BLANK_LINE.finditer(text)]
    parts: list[str] = []
    done = 0
    for start, end in runs:
        if start < done or (start > 0 and text[start - 1] == "\\"):
            continue
        closers = by_size[end - start]
        i = bisect_left(closers, end)
        if i == len(closers):
            continue
        close = closers[i]
        gap = bisect_left(breaks, start)
        if gap < len(breaks) and breaks[gap] < close:
            continue
        stop = close + end - start
        parts += [text[done:start], _blank(text[start:stop])]
        done = stop
    return "".join([*parts, text[done:]])


def headings(text: str) -> list[Heading]:
    """All headings of a note, ``#`` and underlined ones, without those in code."""
    lines = text.split("\n")
    coded = fences(lines)
    start = 0
    if lines[0].rstrip() == "---":  # a front matter's last line is no underline
        start = next((i + 1 for i in range(1, len(lines)) if lines[i].rstrip() in ("---", "...")), 0)
    found: list[Heading] = []
    for i in range(start, len(lines)):
        line = lines[i]
        if coded[i]:
            continue
        if "#" in line and (match := _HEADING.match(line)):
            found.append(Heading(i, len(match[1]), (match[2] or "").strip()))
        elif i > start and not coded[i - 1] and (match := _UNDERLINE.match(line)) and _is_paragraph(lines[i - 1]):
            found.append(Heading(i - 1, 1 if match[1][0] == "=" else 2, lines[i - 1].strip()))
    return found


def _is_paragraph(line: str) -> bool:
    return not _NO_PARAGRAPH.match(line)


def comparable(heading: str) -> str:
    """A heading's text as links are compared with it: no case, no markup, single blanks."""
    return " ".join(_STRIPPED.sub(" ", heading).split()).casefold()


def section(text: str, heading: str) -> str | None:
    """The section under *heading*, with the heading, or None.

    ``A#B`` means the heading B somewhere under A. Headings are compared without case and punctuation; if none is equal
    so, by letters and digits only, which finds ``#my-heading`` as well.
    """
    wanted = [part for part in heading.split("#") if part.strip()]
    if not wanted:
        return None
    found = headings(text)
    for same in (comparable, squash):
        keys = [same(part) for part in wanted]
        at = _find_nested(found, [same(each.text) for each in found], keys) if all(keys) else None
        if at is not None:
            lines = text.split("\n")
            end = next((h.line for h in found[at + 1 :] if h.level <= found[at].level), len(lines))
            return "\n".join(lines[found[at].line : end]).rstrip()
    return None


def _find_nested(found: list[Heading], names: list[str], wanted: list[str]) -> int | None:
    """The index of the heading that is the last of *wanted*, each below the one before."""
    path: list[int] = []
    for i, heading in enumerate(found):
        while path and heading.level <= found[path[-1]].level:
            path.pop()
        if names[i] == wanted[len(path)]:
            path.append(i)
            if len(path) == len(wanted):
                return i
    return None


def block_text(text: str, block_id: str) -> str | None:
    """The block that carries ``^block_id`` (without regard to case), without the mark, or None."""
    wanted = block_id.strip().lstrip("^").casefold()
    if f"^{wanted}" not in text.casefold():
        return None
    lines = text.split("\n")
    coded = fences(lines)
    for i, line in enumerate(lines):
        if "^" not in line or coded[i]:
            continue
        match = _BLOCK_ID.search(line)
        if match and match[1].casefold() == wanted:
            rest = line[: match.start()].rstrip()
            return _block_at(lines, i, rest) if rest.strip() else _block_before(lines, i, coded)
    return None


def _block_at(lines: list[str], i: int, rest: str) -> str:
    """The block whose line *i*, without its mark, is *rest*."""
    item = _ITEM.match(rest)
    if item:
        depth = len(item[1].expandtabs(4))
        end = i + 1
        while end < len(lines) and lines[end].strip() and _indent(lines[end]) > depth:
            end += 1
        return "\n".join([rest, *lines[i + 1 : end]])
    start = i
    while start > 0 and lines[start - 1].strip() and not _HEADING.match(lines[start - 1]):
        if _HEADING.match(rest):
            break
        start -= 1
        if _ITEM.match(lines[start]):
            break
    return "\n".join([*lines[start:i], rest])


def _block_before(lines: list[str], i: int, coded: list[bool]) -> str | None:
    """The block that ends before line *i*, which is only a mark: a paragraph, a whole list, table, quote or code."""
    end = i
    while end > 0 and not lines[end - 1].strip() and not coded[end - 1]:
        end -= 1
    start = end
    while start > 0 and (coded[start - 1] if end and coded[end - 1] else lines[start - 1].strip()):
        start -= 1
    return "\n".join(lines[start:end]) if start < end else None


def _indent(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())
