"""Reads notes with the tools of a block: splits a note into lines, resolves links to notes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ._words import fold, stems

LINK = re.compile(r"\[\[([^\]\n]+)\]\]")
KEY = re.compile(
    r"\s*(?:[-*+]\s+|\d+[.)]\s+)?(?:\*\*|__)?([^\s:*|#][^:*|]{0,59}?)(?:\*\*|__)?\s*:(?:\*\*|__)?(?:\s+(.*))?$"
)
MANY_NOTES = 250  # above this, notes are searched instead of all being read


class Line:
    """One line of a note: its position, its key or section, and its value."""

    def __init__(self, note: str, number: int, text: str, section: str, key: str, value: str) -> None:
        self.note, self.number, self.text = note, number, text
        self.section, self.key, self.value = section, key, value
        self.links = [part.split("|")[0].split("#")[0].strip() for part in LINK.findall(value)]
        self.stems = stems(key) if key else []

    def quote(self) -> dict[str, Any]:
        return {"note": self.note, "line": self.number, "text": self.text.strip()[:300], "value": self.value[:1000]}


def split_note(path: str, text: str) -> tuple[str, list[Line]]:
    """A note's title and its lines: bullets and plain `key: value`, tables, sentences, front matter, headings."""
    title, section = "", ""
    lines: list[Line] = []
    header: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        raw = raw.rstrip("\r")
        bare = raw.strip()
        if not bare or bare == "---" or len(bare) > 20_000:
            header = header if bare else []
            continue
        if bare.startswith("#"):
            section = bare.lstrip("#").strip()
            if not title and bare.startswith("# "):
                title = section
                lines.append(Line(path, number, raw, "", "Full Name", section))
            continue
        if bare.startswith("|") and bare.endswith("|"):
            cells = [cell.strip() for cell in bare[1:-1].split("|")]
            if not header:
                header = cells
            elif set(bare) - set("|-: "):
                for name, cell in list(zip(header, cells, strict=False))[1:]:
                    key = cells[0] if len(cells) == 2 else cells[0] + " " + name
                    lines.append(Line(path, number, raw, section, key, cell))
            continue
        match = KEY.match(raw)
        if match and len(match[1].split()) <= 7:
            lines.append(Line(path, number, raw, section, match[1].strip(), (match[2] or "").strip()))
        else:
            said = re.sub(r"^(?:[-*+]\s+|\d+[.)]\s+|>\s*)", "", bare)
            lines.append(Line(path, number, raw, section, "", said))
    return title, lines


def found_paths(found: object) -> list[str]:
    """The notes in what a search tool returned, in order, once each."""
    rows = found if isinstance(found, list) else str(found).splitlines()
    names = [re.search(r"[^\s:'\"\[(]+\.md", str(row)) for row in rows]
    return list(dict.fromkeys(name[0] for name in names if name))


class Notes:
    """The notes of one memory, read on demand with the tools of the block.

    *folder* is the folder of the agent's own notes, ``""`` for the memory itself: notes about the user, and new notes.
    """

    def __init__(self, tools: Mapping[str, Any], folder: str = "") -> None:
        self.tools = tools
        start = f"{folder}/" if folder else ""
        self.user, self.entities = f"{start}user.md", f"{start}entities"
        listed = tools["list_files"]()
        names = listed if isinstance(listed, list) else str(listed).splitlines()
        self.paths = [name for name in names if name.endswith(".md")]
        self.known = set(self.paths)
        self.by_name: dict[str, list[str]] = {}
        for path in self.paths:
            self.by_name.setdefault(fold(path[:-3].rsplit("/", 1)[-1]), []).append(path)
        self.split: dict[str, tuple[str, list[Line]]] = {}
        self.texts: dict[str, str] = {}
        self.whole = len(self.paths) <= MANY_NOTES

    def text(self, path: str) -> str:
        if path not in self.texts:
            got = self.tools["read_file"](path) if path in self.known else ""
            self.texts[path] = got if type(got) is str else ""  # an error is a subclass of str
        return self.texts[path]

    def add(self, path: str, text: str) -> None:
        """Record a note's new text."""
        self.texts[path] = text
        self.split.pop(path, None)
        if path not in self.known:
            self.paths.append(path)
            self.known.add(path)
            self.by_name.setdefault(fold(path[:-3].rsplit("/", 1)[-1]), []).append(path)

    def remove(self, path: str) -> None:
        """Record that a note was deleted."""
        self.paths.remove(path)
        self.known.discard(path)
        self.by_name[fold(path[:-3].rsplit("/", 1)[-1])].remove(path)
        self.texts.pop(path, None)
        self.split.pop(path, None)

    def read(self, path: str) -> tuple[str, list[Line]]:
        if path not in self.split:
            title, lines = split_note(path, self.text(path))
            self.split[path] = (title or path[:-3].rsplit("/", 1)[-1].replace("_", " ").title(), lines)
        return self.split[path]

    def candidates(self, asked: list[str], search: bool = True) -> list[str]:
        """The notes that these stems may name: all of a small memory, else by file name and by a search."""
        if self.whole:
            return self.paths
        found = self.tools["search"](" ".join(asked[:12]), 40) if search else []
        starts = [root[:4] for root in asked]
        near = [(name, paths) for name, paths in self.by_name.items() if any(start in name for start in starts)]
        hits = [path for name, paths in near if set(stems(name)) & set(asked) for path in paths][:40]
        return hits + [path for path in found_paths(found) if path in self.known and path not in hits]

    def linking(self, path: str) -> list[str]:
        """The notes that link to this one, in a memory too large to read."""
        return [other for other in found_paths(self.tools["backlinks"](path)) if other in self.known][:200]

    def title(self, path: str) -> str:
        return self.read(path)[0]

    def resolve(self, link: str) -> str:
        """The note that a link leads to, or "". A link with the user's own name leads to user.md."""
        name = fold(link.removesuffix(".md")).replace(" ", "_")
        for path in self.by_name.get(name.rsplit("/", 1)[-1], ()):
            if fold(path[:-3]).endswith(name):
                return path
        words = stems(name.rsplit("/", 1)[-1])
        own = self.user in self.known and words and set(words) <= set(stems(self.title(self.user)))
        return self.user if own else ""

    def shown(self, line: Line) -> str:
        """A line's value for display: links are replaced by the titles of their notes."""

        def name(match: re.Match[str]) -> str:
            target, _, alias = match[1].partition("|")
            path = self.resolve(target.split("#")[0].strip())
            known = (
                self.title(path) if path else target.rsplit("/", 1)[-1].removesuffix(".md").replace("_", " ").title()
            )
            return alias or known

        return LINK.sub(name, line.value).strip("*_ ")[:1000]
