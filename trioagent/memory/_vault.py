"""A memory as a person views it: read only, never through a symbolic link, whatever its contents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from unicodedata import normalize

import attrs

from .._config import MemoryLimits
from .._errors import InvalidInputError
from ..tools import DEFAULT_RULES, Access, AccessRules, Disk, NoteText, NoteTools, is_shown
from ..tools.links import Link, NoteIndex, block_text, front_matter, has_sections, parse_links, read_link, section
from ._root import check_memory_path

_LINE = re.compile(r"line (\d+) ")
_UNFINISHED = "redo.json"


@attrs.frozen
class Problem:
    """Something in a memory that its owner should know about.

    Attributes:
        path: the note or folder.
        line: from 1; 0 for all of it.
        text: what is wrong.
    """

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


@attrs.frozen
class OutLink:
    """A link in a note, and its target.

    Attributes:
        target: the note, or None.
        problem: "" or what is wrong with it, with suggestions.
    """

    link: Link
    target: str | None
    problem: str

    def __str__(self) -> str:
        part = f"#^{self.link.block}" if self.link.block else f"#{self.link.heading}" if self.link.heading else ""
        return f"[[{self.link.target}{part}]]"


class Vault:
    """The notes in a folder.

    Args:
        rules: only notes that they show are included.

    Raises:
        MemoryPathError: it is not a folder that can be read.
    """

    def __init__(self, root: Path, rules: AccessRules = DEFAULT_RULES) -> None:
        _check_readable(root)
        access = Access()
        access.rules = self._rules = rules
        self.tools: NoteTools = NoteTools(str(root), access=access)
        self._disk = Disk(str(root))
        self._texts: dict[str, str] = {}
        self._meanings: dict[tuple[str, Link], OutLink] = {}
        self._index: NoteIndex | None = None

    def sizes(self) -> dict[str, int]:
        """The bytes of every file that is not hidden, by path, sorted."""
        return {path: size for path, (_, size, _) in self.stamps().items()}

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """The inode, size and modification time of every file that is not hidden, by path, sorted."""
        found: dict[str, tuple[int, int, int]] = {}
        for start, folder, names in self._disk.walk():
            for name in names:
                try:
                    stat = folder.stat(name)
                except FileNotFoundError:  # an agent is changing notes meanwhile
                    continue
                if is_shown(start + name, self._rules):
                    found[start + name] = stat.st_ino, stat.st_size, stat.st_mtime_ns
        return dict(sorted(found.items()))

    def note(self, name: str) -> str:
        """The path of the note that *name*, a path or a link, refers to.

        Raises:
            InvalidInputError: there is none; the text has suggestions.
        """
        if name in self.index:
            return name
        found = self.index.resolve(read_link(name).target)
        if found.path is not None:
            return found.path
        near = f"; did you mean {' or '.join(found.suggestions)}?" if found.suggestions else ""
        raise InvalidInputError("NOTE", f"there is no note {name!r}{near}")

    def has(self, path: str) -> bool:
        """Whether something is at *path*, shown or not."""
        return bool(self.kind(path))

    def kind(self, path: str) -> str:
        """What is at *path*, shown or not: "file", "folder", "other" (a link, socket or device), or "" for nothing."""
        return self._disk.kind(path)

    def folders(self) -> list[str]:
        """All folders that are not hidden and may contain a note that is shown, sorted."""
        found = (start.removesuffix("/") for start, _, _ in self._disk.walk() if start)
        return sorted(path for path in found if is_shown(path, self._rules, is_folder=True))

    def links(self, path: str) -> list[OutLink]:
        """The links in a note, in order."""
        return [self.meaning(link, path) for link in parse_links(self.text(path))]

    def problems(self, limits: MemoryLimits = MemoryLimits()) -> Iterator[Problem]:
        """Everything that would cause an agent trouble: broken links and notes, hidden contents, exceeded limits."""
        if self._disk.kind(f".trioagent/{_UNFINISHED}") == "file":
            yield Problem(".trioagent", 0, "a saved change is not completed yet; the next agent completes it")
        yield from self._unseen("")
        sizes = self.sizes()
        yield from _over_limits(sizes, limits)
        yield from _same_names(sizes)
        for path in sizes:
            if path.endswith(".md"):
                yield from self._problems_in(path)

    @property
    def index(self) -> NoteIndex:
        if self._index is None:
            self._index = NoteIndex([path for path in self._disk.files() if is_shown(path, self._rules)])
        return self._index

    def data(self, path: str) -> bytes:
        """The content of a note.

        Raises:
            InvalidInputError: it cannot be read, or is gone by now.
        """
        try:
            return self._disk.read(path)
        except OSError as error:
            raise InvalidInputError("NOTE", f"{path!r} cannot be read: {error.strerror}") from error

    def text(self, path: str) -> str:
        """A note as agents see it; "" if it cannot be read."""
        if path not in self._texts:
            try:
                self._texts[path] = NoteText(self._disk.read(path)).shown
            except OSError:
                self._texts[path] = ""
        return self._texts[path]

    def meaning(self, link: Link, source: str) -> OutLink:
        """The target of a link in the note *source*."""
        key = (source, link._replace(line=0, alias=""))  # its line does not change its target
        if key not in self._meanings:
            self._meanings[key] = self._resolved(link, source)
        return attrs.evolve(self._meanings[key], link=link)

    def _resolved(self, link: Link, source: str) -> OutLink:
        found = self.index.resolve(link.target, source)
        if found.path is None:
            near = " or ".join(f"[[{path.removesuffix('.md')}]]" for path in found.suggestions)
            return OutLink(link, None, f"no such note; did you mean {near}?" if near else "no such note")
        if not has_sections(found.path):
            return OutLink(link, found.path, "")
        if link.block and block_text(self.text(found.path), link.block) is None:
            return OutLink(link, found.path, f"{found.path} has no block ^{link.block}")
        if link.heading and section(self.text(found.path), link.heading) is None:
            return OutLink(link, found.path, f"{found.path} has no heading {link.heading!r}")
        return OutLink(link, found.path, "")

    def _problems_in(self, path: str) -> Iterator[Problem]:
        try:
            data = self._disk.read(path)
        except OSError as error:
            yield Problem(path, 0, f"it cannot be read: {error.strerror}")
            return
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            yield Problem(path, line, f"byte {data[error.start]:#04x} is not UTF-8; agents see a replacement character")
        note = NoteText(data)
        _, _, wrong = front_matter(note.shown)
        if wrong is not None:
            line_of = _LINE.match(wrong)
            yield Problem(path, int(line_of[1]) if line_of else 1, wrong)
        for out in self.links(path):
            if out.problem:
                yield Problem(path, out.link.line, f"{out}: {out.problem}")

    def _unseen(self, path: str) -> Iterator[Problem]:
        """Links, sockets and so on, and folders that cannot be opened."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            start = f"{here}/" if here else ""
            try:
                with self._disk.folder(here) as folder:
                    entries = sorted(folder.scan(), key=lambda entry: entry.name)
            except OSError as error:
                yield Problem(
                    here, 0, f"this folder cannot be opened: {error.strerror}; agents do not see what is in it"
                )
                continue
            for entry in entries:
                if entry.is_symlink():
                    yield Problem(start + entry.name, 0, "a symbolic link, which agents do not see")
                elif entry.name.startswith("."):
                    continue
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(start + entry.name)
                elif not entry.is_file(follow_symlinks=False):
                    yield Problem(start + entry.name, 0, "neither a file nor a folder; agents do not see it")


def _check_readable(root: Path) -> None:
    try:
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        check_memory_path(root, read_only=True)  # raises with the reason
        raise


def _same_names(paths: Iterable[str]) -> Iterator[Problem]:
    """Notes whose names are equal for agents and for other systems."""
    first: dict[str, str] = {}
    for path in paths:
        other = first.setdefault(normalize("NFC", path), path)
        if other != path:
            yield Problem(path, 0, f"its name equals that of {other!r} except for the form of its accents; rename one")


def _over_limits(sizes: dict[str, int], limits: MemoryLimits) -> Iterator[Problem]:
    folders: dict[str, int] = {}
    for path, size in sizes.items():
        if size > limits.file_bytes:
            setting = f"{limits.file_bytes:,} (MemoryLimits.file_bytes)"
            yield Problem(path, 0, f"{size:,} bytes, and a note may have {setting}; split it")
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            folders[folder] = folders.get(folder, 0) + size
        if len(parts) > limits.depth:
            yield Problem(path, 0, f"{len(parts)} folders deep, and {limits.depth} are allowed (MemoryLimits.depth)")
    for folder, size in folders.items():
        if size > limits.dir_bytes:
            setting = f"{limits.dir_bytes:,} (MemoryLimits.dir_bytes)"
            yield Problem(
                folder, 0, f"{size:,} bytes, and a folder may have {setting}; {_largest(sizes, folders, folder + '/')}"
            )
    total = sum(sizes.values())
    if total > limits.total_bytes:
        setting = f"{limits.total_bytes:,} (MemoryLimits.total_bytes)"
        yield Problem(".", 0, f"{total:,} bytes, and a memory may have {setting}; {_largest(sizes, folders, '')}")


def _largest(sizes: dict[str, int], folders: dict[str, int], start: str) -> str:
    """The largest entries directly in a folder."""
    inside = [*sizes.items(), *((f"{folder}/", size) for folder, size in folders.items())]
    direct = [(path, size) for path, size in inside if path.startswith(start) and path != start]
    direct = [(path, size) for path, size in direct if "/" not in path[len(start) :].removesuffix("/")]
    direct.sort(key=lambda each: (-each[1], each[0]))
    return f"most is taken by {', '.join(f'{path} ({size:,})' for path, size in direct[:3])}"
