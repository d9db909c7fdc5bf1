"""Error texts for a model whose link or text was not found in a note. Pure."""

from __future__ import annotations

from ._names import has_sections
from ._results import Refused
from ._text import cut, nearest
from .links import Link, block_text, headings, section


def part_of(path: str, text: str, link: Link) -> str:
    """The part of the note's text that the link points to; all of it in a file that has no sections."""
    if not has_sections(path):
        return text
    if link.block:
        block = block_text(text, link.block)
        if block is None:
            raise Refused(f"{path} has no block ^{link.block}. Use read_file({path!r}) to see it all")
        return block
    if link.heading:
        part = section(text, link.heading)
        if part is None:
            names = [heading.text for heading in headings(text)]
            near = nearest(link.heading.rpartition("#")[2], ((name, name) for name in names)) or names[:10]
            hint = f"Its headings are like {', '.join(repr(name) for name in near)}. " if near else "It has none. "
            raise Refused(f"{path} has no heading {link.heading!r}. {hint}Use read_file({path!r}) to see it all")
        return part
    return text


def not_found(path: str, text: str, old: str) -> str:
    """Why *old* is not in the note, with similar text; begins as memory-agent models were trained on."""
    return f"Could not find the specified content in the file. {_what_is_there(path, text, old)}"


def _what_is_there(path: str, text: str, old: str) -> str:
    words = old.split()
    if words:
        spaced = _with_other_blanks(text, words)
        if spaced is not None:
            return (
                f"old_content is not in {path}, but this is, which differs only in white space: {cut(spaced, 1000)!r}. "
                "Call update_file again with exactly that text"
            )
    lines = [line for line in text.split("\n") if line.strip()]
    first = next((line for line in old.split("\n") if line.strip()), "")
    near = nearest(first, ((line, line) for line in lines), limit=3, cutoff=0.5)
    if near:
        hint = f"The most similar lines are: {'; '.join(repr(cut(line, 300)) for line in near)}. Copy the exact text"
    else:
        hint = f"Use read_file({path!r}) and copy the exact text"
    return f"old_content is not in {path}: {cut(old, 200)!r}. {hint}"


def _with_other_blanks(text: str, words: list[str]) -> str | None:
    """The one part of *text* that has *words* in this order with only white space between them."""
    positions: list[int] = []
    ends: list[int] = []
    found = text.split()
    first = words[0]
    hits = [i for i in range(len(found) - len(words) + 1) if found[i] == first and found[i : i + len(words)] == words]
    if len(hits) != 1:
        return None
    at = 0
    for word in found[: hits[0] + len(words)]:
        at = text.index(word, at)
        positions.append(at)
        at += len(word)
        ends.append(at)
    return text[positions[hits[0]] : ends[-1]]


def too_often(path: str, text: str, old: str, times: int) -> str:
    at, lines = -1, list[str]()
    while len(lines) < 5 and (at := text.find(old, at + 1)) >= 0:
        lines.append(str(text.count("\n", 0, at) + 1))
    return (
        f"old_content is {times} times in {path} (lines {', '.join(lines)}{', …' if times > 5 else ''}); "
        "give more surrounding lines, so that it is there once"
    )
