"""The parts of a markdown note that links can point into: headings with their sections, and blocks. Pure.

Rules follow Obsidian (https://help.obsidian.md/links): a section runs to the next heading of the same or a higher
level; a block is the paragraph or list item that ends with `` ^id``, or the one before a line that is only ``^id``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

from ._blocks import FENCED, HEADING, INDENTED, blocks, hash_heading
from ._names import nfc
from ._text import squash

_TICKS = re.compile(r"`+")
_LINK_START = re.compile(r"\[\[|\]\(")
_LINE_START = re.compile(r"[>\d.)*+\- \t]*")
_TABLE_RULE = re.compile(r"(?=.*\|)[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\Z")
_COMMENT = re.compile("%%|<!--")
_NOT_NEWLINE = re.compile(r"[^\n]")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|\Z)")
_FAR = 500
"""Characters: the longest link address, second line of a table, and part of a heading that is compared as rendered."""
_NEEDS_BLOCKS = re.compile(r"```|~~~|^ {1,3}#|(?<=[^\n])\n {0,3}(?:=+|-+)[ \t]*$|%%|<!--", re.MULTILINE)
"""Lines that make the meaning of later lines depend on them, as far as headings are concerned."""
_STRIPPED = re.compile(r"[!\"#$%&()*+,.:;<=>?@^`{|}~/\[\]\\]")
_ITEM = re.compile(r"([ \t>]*)(?:[-*+]|\d{1,9}[.)])(?:[ \t]|\Z)")
_BLOCK_ID = re.compile(r"(?:^|(?<=\s))\^([A-Za-z0-9_-]+)[ \t]*\Z")
_SHOWN_AS = (
    (re.compile(r"!?\[\[[^\[\]\n]*\|([^\[\]\n|]*)\]\]"), r"\1"),  # a link with an alias
    (re.compile(r"!?\[\[([^\[\]\n]*)\]\]"), r"\1"),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>\n]*>"), ""),
    (re.compile(r"(?<![^\W_])(_{1,3})(?=\S)([^_\n]*[^_\s])\1(?![^\W_])"), r"\2"),
)
"""Markup in a heading, and its visible part."""


class Heading(NamedTuple):
    """A heading: its 0-based line, its level from 1 (``#``) to 6, and its text."""

    line: int
    level: int
    text: str


def fences(lines: list[str]) -> list[bool]:
    """For each line, whether it is part of a fenced code block (the fences count)."""
    inside = [False] * len(lines)
    for block in blocks(lines):
        if block.kind == FENCED:
            inside[block.start : block.end] = [True] * (block.end - block.start)
    return inside


def without_code(text: str) -> str:
    """*text* with code and comments blanked out; every other character keeps its place."""
    if "`" in text or "~~~" in text or _has_indented_link(text):
        text = _without(text, _code_in(text))
    if "%%" in text or "<!--" in text:
        text = _without_comments(text)
    return text


def _code_in(text: str) -> list[tuple[int, int]]:
    """Where code begins and ends, blocks and spans."""
    if not ("``" in text or "\\`" in text or "~~~" in text or _has_indented_link(text)):
        spans = _spans_in_lines(text)
        if spans is not None:
            return spans
    found: list[tuple[int, int]] = []
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    for block in blocks(lines):
        if block.kind in (FENCED, INDENTED):
            found.append((starts[block.start], starts[block.end] - 1))
        elif block.end - block.start > 1 and _TABLE_RULE.match(lines[block.start + 1][:_FAR]):
            for number in range(block.start, block.end):
                found += _code_spans(text, starts[number], starts[number + 1] - 1)
        else:
            found += _code_spans(text, starts[block.start], starts[block.end] - 1)
    return found


def _spans_in_lines(text: str) -> list[tuple[int, int]] | None:
    """The code spans of a text with single backticks only, if each ends in its line, in whichever block."""
    spans: list[tuple[int, int]] = []
    start = text.find("`")
    while start >= 0:
        end = text.find("`", start + 1) + 1
        if not end or text.find("\n", start, end) >= 0:
            return None
        if not _is_in_link(text, start, end):
            spans.append((start, end))
        start = text.find("`", end)
    return spans


def _code_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The code spans of one block (CommonMark 6.1)."""
    runs = [match.span() for match in _TICKS.finditer(text, start, end)]
    by_size: dict[int, list[int]] = {}
    for begin, stop in runs:
        by_size.setdefault(stop - begin, []).append(begin)
    spans: list[tuple[int, int]] = []
    done = start
    for begin, stop in runs:
        if begin < done:
            continue
        begin += is_escaped(text, begin)
        closers = by_size.get(stop - begin, [])
        at = bisect_left(closers, stop)
        if begin == stop or at == len(closers):
            continue
        done = closers[at] + stop - begin
        if not _is_in_link(text, begin, done):
            spans.append((begin, done))
    return spans


def _is_in_link(text: str, start: int, end: int) -> bool:
    """Whether a code span is part of a link's address, as in ``[[Note#The `x` option]]``."""
    opens = text.rfind("[[", max(0, start - _FAR), start)
    if opens < 0 or text.find("]]", opens, end) >= 0 or text.find("\n", opens, end) >= 0:
        return False
    closes = text.find("]]", end, end + _FAR)
    return closes >= 0 and text.find("[[", end, closes) < 0 and text.find("\n", end, closes) < 0


def _has_indented_link(text: str) -> bool:
    """Whether a link is in a line that is indented like code."""
    at = 0
    while link := _LINK_START.search(text, at):
        start = text.rfind("\n", at, link.start()) + 1 or at
        before = _LINE_START.match(text, start, min(link.start(), start + _FAR))
        if before is not None and ("    " in before[0] or "\t" in before[0]):
            return True
        at = text.find("\n", link.end()) + 1
        if not at:
            return False
    return False


def is_escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes precedes *at*."""
    start = at
    while start > 0 and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1


def _without(text: str, ranges: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    done = 0
    for start, end in ranges:
        parts += [text[done:start], _blank(text[start:end])]
        done = end
    return "".join([*parts, text[done:]])


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
            closers.pop(match[0], None)  # no comment of this kind is closed from here on
            at = match.end()
            continue
        at = end + len(closer or "")
        parts += [text[done : match.start()], _blank(text[match.start() : at])]
        done = at
    return "".join([*parts, text[done:]])


def headings(text: str) -> list[Heading]:
    """All headings of a note, ``#`` and underlined ones, without those in code, quotes, lists and comments."""
    if not _NEEDS_BLOCKS.search(text, text.find("\n---") + 1 if text.startswith("---") else 0):
        return [
            Heading(number, *heading)
            for number, line in enumerate(text.split("\n"))
            if line.startswith("#") and (heading := hash_heading(line))
        ]
    lines = text.split("\n")
    found = [
        Heading(block.start, block.level, block.text)
        for block in blocks(lines)
        if block.kind == HEADING and not block.depth
    ]
    if "%%" in text or "<!--" in text:
        seen = without_code(text).split("\n")
        found = [heading for heading in found if lines[heading.line].strip()[:1] == seen[heading.line].strip()[:1]]
    return found


def comparable(heading: str) -> str:
    """A heading's text normalised for comparison: no case, no markup, single blanks, one form of each accent."""
    return nfc(" ".join(_STRIPPED.sub(" ", heading).split())).casefold()


def as_shown(heading: str) -> str:
    """A heading's text as rendered: links by their alias, without emphasis and tags."""
    heading = heading[:_FAR]
    for markup, words in _SHOWN_AS:
        heading = markup.sub(words, heading)
    return heading


def section(text: str, heading: str) -> str | None:
    """The section under *heading*, with the heading, or None.

    ``A#B`` means the heading B somewhere under A. Headings are compared without case and punctuation; if none matches,
    by letters and digits only, which finds ``#my-heading`` as well; both as written and as rendered.
    """
    wanted = [part for part in heading.split("#") if part.strip()]
    if not wanted:
        return None
    found = headings(text)
    for same in (comparable, _comparable_as_shown, squash, _squash_as_shown):
        keys = [same(part) for part in wanted]
        at = _find_nested(found, [same(each.text) for each in found], keys) if all(keys) else None
        if at is not None:
            lines = text.split("\n")
            end = next((h.line for h in found[at + 1 :] if h.level <= found[at].level), len(lines))
            return "\n".join(lines[found[at].line : end]).rstrip()
    return None


def _comparable_as_shown(heading: str) -> str:
    return comparable(as_shown(heading))


def _squash_as_shown(heading: str) -> str:
    return squash(as_shown(heading))


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
    """The block that has the mark ``^block_id`` (ignoring case), without the mark, or None."""
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
