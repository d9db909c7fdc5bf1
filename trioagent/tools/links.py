"""Links between notes, by Obsidian's rules. Pure: an index is made of paths, texts are passed in.

========================  =========================================================================================
``[[Note]]``              the note of that name; ``.md`` may be written; case and blanks around it do not count
``[[folder/Note]]``       a path, or the tail of one: ``[[b/Note]]`` finds ``a/b/Note.md``
``[[Note|shown]]``        the same, with other text shown
``[[Note#Heading]]``      a section; ``[[Note#A#B]]`` the section B below A; ``[[#Heading]]`` in the same note
``[[Note#^id]]``          the paragraph or list item that ends with ``^id``
``![[Note]]``             an embedded note or picture
``[shown](path.md)``      a markdown link, with ``%20`` or ``<...>`` for blanks; web addresses do not count as links
========================  =========================================================================================

A target is looked up as an exact path from the memory's folder, then in the folder of the note that has the link,
then as the tail of any path: the one with the fewest folders, then the shortest, then the first by alphabet. ``/path``
is exact only, ``./path`` and ``../path`` start at the note that has the link. Aliases in front matter never resolve.
Links in code and comments do not count.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from ._frontmatter import front_matter as front_matter
from ._markdown import Heading as Heading
from ._markdown import block_text as block_text
from ._markdown import headings as headings
from ._markdown import is_escaped, without_code
from ._markdown import section as section
from ._names import has_sections as has_sections
from ._names import nfc
from ._text import nearest, squash

_WIKI = re.compile(r"(!?)\[\[([^\[\]\n]+)\]\]")
_INLINE = re.compile(
    r"(!?)\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]"
    r"\(\s*(?:<([^<>\n]*)>|((?:[^\s()<>]|\([^\s()]*\))+))(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
)
_LINE_END = re.compile("\n")
_PIPE = re.compile(r"\\?\|")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class Link(NamedTuple):
    """A link as written in a note.

    Attributes:
        target: the note's name or path as written, ``""`` for the same note.
        heading: the heading, ``A#B`` for nested ones, or ``""``.
        block: the block's id without ``^``, or ``""``.
        alias: the text shown instead, or ``""``.
        embed: whether the content is shown in place (``![[...]]``).
        line: the line in the note, from 1.
    """

    target: str
    heading: str = ""
    block: str = ""
    alias: str = ""
    embed: bool = False
    line: int = 1


class Resolution(NamedTuple):
    """The note that a target refers to.

    Attributes:
        path: the note, or None.
        candidates: every note that the target could refer to by its name, ``path`` first.
        suggestions: if there is none, the notes with the most similar names.
    """

    path: str | None
    candidates: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()


def parse_link(inner: str, alias: str = "", embed: bool = False, line: int = 1) -> Link:
    """Parse ``Note#Heading|alias``, the text between ``[[`` and ``]]``."""
    address, *rest = _PIPE.split(inner, maxsplit=1)
    target, *parts = address.split("#")
    block = next((part.strip()[1:] for part in parts if part.strip().startswith("^")), "")
    heading = "#".join(part.strip() for part in parts if part.strip() and not part.strip().startswith("^"))
    return Link(target.strip(), heading, block, rest[0].strip() if rest else alias, embed, line)


def parse_links(text: str) -> list[Link]:
    """All links of a note in order, without those in code and comments and those to the web."""
    if "[[" not in text and "](" not in text:
        return []
    masked = without_code(text)
    starts = [0, *(match.end() for match in _LINE_END.finditer(masked))]
    found: list[tuple[int, Link]] = []
    for match in _WIKI.finditer(masked):
        if not is_escaped(masked, match.start()):
            line = bisect_right(starts, match.start())
            found.append((match.start(), parse_link(match[2], "", match[1] == "!", line)))
    if "](" in masked:
        for match in _INLINE.finditer(masked):
            address = match[4] if match[3] is None else match[3]
            if not is_escaped(masked, match.start()) and not _SCHEME.match(address) and not _WIKI.search(address):
                line = bisect_right(starts, match.start())
                alias = match[2].strip()
                link = parse_link(unquote(address).replace("|", "\0"), alias, match[1] == "!", line)
                found.append((match.start(), link._replace(target=link.target.replace("\0", "|"))))
                # A picture inside a link's text is a link of its own.
                for inner in _INLINE.finditer(match[2]):
                    inner_address = inner[4] if inner[3] is None else inner[3]
                    if not _SCHEME.match(inner_address) and not _WIKI.search(inner_address):
                        link = parse_link(unquote(inner_address), inner[2].strip(), inner[1] == "!", line)
                        found.append((match.start() + 1, link))
    found.sort(key=lambda pair: pair[0])
    return [link for _, link in found if link.target or link.heading or link.block]


def read_link(text: str) -> Link:
    """A link as a model passes it to ``go_to_link``: ``[[x]]``, ``x``, ``x.md#Part`` or ``[shown](x.md)``."""
    text = text.strip()
    found = parse_links(text) if "[[" in text or "](" in text else []
    return found[0] if found else parse_link(text.strip("[]!"))


def unquote(address: str) -> str:
    """``%20`` and so on decoded; sequences that are not UTF-8 after that are left unchanged."""

    def decode(match: re.Match[str]) -> str:
        try:
            return bytes.fromhex(match[0].replace("%", "")).decode()
        except UnicodeDecodeError:
            return match[0]

    return _PERCENT.sub(decode, address) if "%" in address else address


def name_key(path: str) -> str:
    """A path normalised for comparison: one form of each accent, no case, no ``.md``."""
    return nfc(path).casefold().removesuffix(".md")


def _rank(path: str) -> tuple[int, int, str, str]:
    return path.count("/"), len(path), path.casefold(), path


class Names(ABC):
    """The notes of a memory by name, to resolve links."""

    @abstractmethod
    def __len__(self) -> int:
        """How many files there are."""

    @abstractmethod
    def __contains__(self, path: str) -> bool:
        """Is there a file with exactly this path?"""

    @abstractmethod
    def named(self, key: str) -> list[str]:
        """The paths of the files whose names have this :func:`name_key`."""

    @abstractmethod
    def same_stem(self, squashed: str) -> list[str]:
        """The paths of the files whose names without ``.md`` are this when squashed."""

    @abstractmethod
    def similar(self, name: str, limit: int, *, whole: bool = False) -> list[str]:
        """The paths whose file names without ``.md``, or *whole* paths without it, are most like *name*, best first."""

    def resolve(self, target: str, source: str = "", suggest: bool = True) -> Resolution:
        """Find the note that *target* (a :class:`Link`'s) refers to in the note *source*.

        Args:
            source: the note with the link; ``""`` for a link in no note, as if in the memory's folder.
            suggest: look for similar names if there is no such note.
        """
        name = target.strip().replace("\\", "/")
        if not name:
            return Resolution(source, (source,)) if source else Resolution(None)
        folder = source.rpartition("/")[0]
        if name.startswith(("./", "../")):
            path = _join(folder, name)
            found = self._at(path) if path else None
            return self._answer(found, [], name, suggest)
        if name.startswith("/"):
            return self._answer(self._at(name.strip("/")), [], name, suggest)
        name = _join("", name) or ""
        found = self._at(name) or (self._at(f"{folder}/{name}") if folder else None)
        return self._answer(found, [] if found else self._by_tail(name), name, suggest)

    def nearest(self, target: str, limit: int = 3) -> list[str]:
        """The notes whose names, or paths, are most like *target*, best first."""
        tail = squash(target.rpartition("/")[2].removesuffix(".md"))
        whole = squash(target.removesuffix(".md"))
        same = self.same_stem(tail) if tail else []
        if same:
            same.sort(key=lambda path: (squash(path.removesuffix(".md")) != whole, _rank(path)))
            return same[:limit]
        found = self.similar(target.rpartition("/")[2].removesuffix(".md"), limit)
        if "/" in target and len(found) < limit:
            found += self.similar(target, limit, whole=True)
        return list(dict.fromkeys(found))[:limit]

    def _at(self, path: str) -> str | None:
        """The note with exactly this path, or else in another form or case, with or without ``.md``."""
        for exact in (path, f"{path}.md"):
            if exact in self:
                return exact
        same = [found for found in self._named(path) if name_key(found) in (name_key(path), path.casefold())]
        same_form = (nfc(path), f"{nfc(path)}.md")
        return min(same, key=lambda found: (nfc(found) not in same_form, _rank(found)), default=None)

    def _by_tail(self, name: str) -> list[str]:
        ends = (f"/{name_key(name)}", f"/{name.casefold()}")
        found = [path for path in self._named(name) if f"/{name_key(path)}".endswith(ends)]
        found.sort(key=_rank)
        return found

    def _named(self, path: str) -> list[str]:
        name = path.rpartition("/")[2]
        return self.named(name_key(name)) or self.named(name.casefold())

    def _answer(self, found: str | None, tails: list[str], name: str, suggest: bool) -> Resolution:
        if found is not None:
            return Resolution(found, (found,))
        if tails:
            return Resolution(tails[0], tuple(tails))
        return Resolution(None, (), tuple(self.nearest(name)) if suggest else ())


class NoteIndex(Names):
    """The notes by name, held in memory. Making one takes some 10 ms for 10,000 notes.

    Args:
        paths: all files, relative to the memory; those without ``.md`` can be linked to by their full name.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = list(paths)
        self._by_name: dict[str, list[str]] = {}
        self._exact = set(self._paths)
        for path in self._paths:
            self._by_name.setdefault(name_key(path[path.rfind("/") + 1 :]), []).append(path)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: str) -> bool:
        return path in self._exact

    def named(self, key: str) -> list[str]:
        return self._by_name.get(key, [])

    def same_stem(self, squashed: str) -> list[str]:
        return [path for path in self._paths if squash(stem(path)) == squashed]

    def similar(self, name: str, limit: int, *, whole: bool = False) -> list[str]:
        names = ((p.removesuffix(".md"), p) for p in self._paths) if whole else ((stem(p), p) for p in self._paths)
        return nearest(name, names, limit)


ANY_NAME = "/"
"""The key of a link whose target does not contain the note's name, such as ``[[..]]``; no name has a slash."""


def link_keys(target: str) -> set[str]:
    """The keys under which the note's name is in :class:`Names`, whichever note a link's target refers to."""
    name = target.strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    if not target or "\0" in name:
        return set()
    if name.strip() in ("", ".", ".."):
        return {ANY_NAME}
    return {name_key(name), name_key(f"{name}.md"), name.casefold()}


def stem(path: str) -> str:
    """The file's name without ``.md``."""
    return path[path.rfind("/") + 1 :].removesuffix(".md")


def _join(folder: str, name: str) -> str | None:
    """*name* seen from *folder*, or None if it leads out of the memory."""
    parts = folder.split("/") if folder else []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part.strip() not in ("", "."):
            parts.append(part)
    return "/".join(parts)
