"""The tools: functions that a block calls to read and change the notes of one memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import _diff
from . import search as _search
from ._advice import part_of
from ._disk import MAX_BYTES, Disk
from ._edit import replace_once
from ._index import READ_BYTES, Index
from ._listing import Listing
from ._lookup import Lookup
from ._names import as_searched, for_new_note, is_attachment, is_text, nfc, spellings, tidy
from ._paths import as_bytes, as_count, as_text, is_hidden, relative
from ._policy import Access, hidden_part, is_shown, read_problem, write_problem
from ._results import NoResults, PathList, Refused, ToolError, tool
from ._seen import SeenLog
from ._text import NoteText, cut
from ._text import shown as shown_line
from ._version import version_of
from .links import ANY_NAME, Link, name_key, parse_links, read_link

SHOWN_BYTES = 1024 * 1024
"""How much of a note ``read_file`` and ``go_to_link`` show."""

MAX_HITS = 1000
_UPWARDS = re.compile(r"(?:\.{1,2}/)+")


class NoteTools:
    """The tools on one memory; :func:`make_tools` returns its methods.

    Args:
        root: the memory's folder, ``/`` inside a chroot; or an object that acts as a folder. Nothing outside it can be
            reached.
        seen: records each note whose content, or absence, a tool shows to the block, and each that it changes.
        index: may know where in the memory to search.
        access: what the block may touch.
    """

    def __init__(
        self,
        root: str | Disk = "/",
        seen: SeenLog | None = None,
        index: Index | None = None,
        access: Access | None = None,
    ) -> None:
        self._disk = root if isinstance(root, Disk) else Disk(root)
        self._seen = SeenLog() if seen is None else seen
        self._index = Index() if index is None else index
        self._access = Access() if access is None else access
        self._listing = Listing(self._disk, self._index)
        self._lookup = Lookup(self._disk, self._index)

    # Reading

    @tool(ToolError)
    def read_file(self, file_path: str) -> str:
        """The text of a note. Of a note above 1 MB, the first part and a line that says so."""
        path = self._existing(file_path)
        text = self._show(path)
        if text is None:
            raise Refused(self._attachment(path))
        return text

    @tool(ToolError)
    def check_if_file_exists(self, file_path: str) -> bool:
        """Whether there is such a note."""
        path = relative(file_path)
        if self._find(path) is not None:
            return True
        self._check_readable(path)
        return False

    @tool(ToolError)
    def check_if_dir_exists(self, dir_path: str) -> bool:
        """Whether there is such a folder."""
        path = relative(dir_path, "dir_path")
        if self._lookup.folder(path) is not None:
            return True
        self._check_readable(path, is_folder=True)
        return False

    @tool(NoResults)
    def list_files(self, dir_path: str | None = None) -> list[str]:
        """The paths of all notes, or of those in one folder and below it, sorted. Hidden ones are left out.

        The list also behaves as the text of a tree (see `PathList`).
        """
        path = relative(dir_path or "", "dir_path")
        folder = self._lookup.folder(path)
        if folder is None:
            is_note = self._lookup.find(path)[1] == "file"
            if not is_note:
                self._check_readable(path, is_folder=True)
            raise Refused(
                f"{path} is a note, not a folder; use read_file({path!r})"
                if is_note
                else f"the folder {path} does not exist. Use list_files() to see all notes"
            )
        return PathList(self._disk.files(folder))

    @tool(ToolError)
    def get_size(self, path: str = "", *, file_or_dir_path: str = "") -> int:
        """Bytes of a note, or of everything in and below a folder that is not hidden; of the memory without *path*.

        *file_or_dir_path* is the name for *path* that memory-agent models were trained on.
        """
        path = file_or_dir_path if path == "" else path
        wanted = relative(path, "path")
        folder = self._lookup.folder(wanted)
        if folder is None:
            return self._disk.size(self._existing(path))
        return sum(here.stat(name).st_size for _, here, names in self._disk.walk(folder) for name in names)

    # Changing

    @tool(ToolError)
    def create_file(self, file_path: str, content: str = "") -> bool:
        """Write a note, replacing an existing one; folders are made as needed, ``.md`` is added if missing."""
        path = relative(file_path)
        text = as_text(content, "content", "# Ada\n- city: Paris\n")
        self._write(self._lookup.for_note(path), text)
        return True

    @tool(ToolError)
    def update_file(self, file_path: str, old_content: str, new_content: str) -> bool:
        """Replace *old_content*, which must be in the note exactly once, by *new_content*."""
        path = self._existing(file_path)
        self._save(path, replace_once(path, self._read_text(path), old_content, new_content))
        return True

    @tool(ToolError)
    def write_to_file(self, file_path: str, diff: str) -> bool:
        """Apply a unified diff to a note, all of it or nothing; a note that does not exist counts as empty."""
        changes = as_text(diff, "diff", "@@ -1 +1 @@\n-- city: Paris\n+- city: Berlin\n")
        asked = relative(file_path)
        path = self._find(asked)
        if path is None:
            path = self._lookup.for_note(asked)
            note = NoteText(b"")
            self._seen.read(path, None)
        else:
            note = NoteText(self._read_text(path))
        old = note.lines()
        try:
            plan, ends_bare = _diff.apply([shown_line(text) for text, _ in old], changes)
        except Refused as misfit:
            hint = "" if old else f" ({path} is empty or does not exist: use only + lines, or create_file)"
            raise Refused(f"{path}: {misfit}{hint}") from None
        lines: list[tuple[str, str]] = [old[item] if isinstance(item, int) else (item, note.newline) for item in plan]
        lines = [(text, end or note.newline) for text, end in lines]  # the old last line may no longer be the last
        if ends_bare is None:
            ends_bare = bool(old) and not old[-1][1]
        if lines and ends_bare:
            lines[-1] = (lines[-1][0], "")
        body = "".join(text + end for text, end in lines)
        self._save(path, as_bytes(("\ufeff" if note.bom else "") + body, "diff"))
        return True

    @tool(ToolError)
    def delete_file(self, file_path: str) -> bool:
        """Delete a note."""
        path = self._existing(file_path)
        self._check_writable(path)
        self._changes(path)
        self._disk.remove(path)
        self._listing.forget()
        return True

    @tool(ToolError)
    def create_dir(self, dir_path: str) -> bool:
        """Make a folder and its parents; one that exists is fine."""
        path = self._lookup.for_folder(relative(dir_path, "dir_path"))
        if self._disk.kind(path) not in ("", "folder"):
            raise Refused(f"{path} is a note; choose another name for the folder")
        self._check_writable(path, is_folder=True)
        with self._disk.folder(path, make=True):
            return True

    # Finding

    @tool(ToolError)
    def go_to_link(self, link: str = "", *, link_string: str = "") -> str:
        """The note that a link refers to, or the section or block of it that the link names.

        *link_string* is the name for *link* that memory-agent models were trained on.
        """
        link = link_string if link == "" else link
        wanted = read_link(as_text(link, "link", "[[entities/ada]]"))
        if not wanted.target:
            raise Refused(f"{link!r} names no note; write [[note]] or [[note#Heading]]")
        path, others = self._resolve(wanted)
        text = self._show(path)
        part = f"[{self._attachment(path)}]" if text is None else part_of(path, text, wanted)
        if not others:
            return part
        return f"[{wanted.target} is {path} here; it could also mean {', '.join(others)}]\n\n{part}"

    @tool(NoResults)
    def search(self, query: str, limit: int = 10) -> list[str]:
        """The lines that match *query* best, best first, each as ``path:line: text``."""
        words = as_text(query, "query", "acme founded")
        most = min(as_count(limit, "limit"), MAX_HITS)
        asked = _search.Query(words)
        if not asked.stems:
            raise Refused("the query has no words; give one or more words to look for")
        considered = _search.considered(most)
        if self._index.usable:
            found = _search.indexed(self._index.parts(self._disk, contents=True), asked, considered)
        else:
            found = _search.scanned(self._contents(), asked, considered)
        return _search.best_lines(found, as_searched(self._disk.contents(found.paths, READ_BYTES)), asked, most)

    @tool(NoResults)
    def backlinks(self, path: str) -> list[str]:
        """The notes that link to a note, sorted."""
        target = self._existing(path)
        index = self._listing.index()
        name = target.rpartition("/")[2].removesuffix(".md")
        found = []
        for source, data in self._linking(target):
            if source == target or (b"[[" not in data and b"](" not in data):
                continue
            text = NoteText(data).shown
            if name.isascii() and "%" not in text and name.casefold() not in text.casefold():
                continue
            meant = (index.resolve(link.target, source, suggest=False).path for link in parse_links(text))
            if target in meant:
                found.append(source)
        return sorted(found)

    # For the host

    @tool(ToolError)
    def place_of(self, file_path: str) -> str:
        """The path that a note called *file_path* is written to: that of the existing note, or of a new one."""
        path = self._lookup.for_note(relative(file_path))
        self._check_writable(path)
        return path

    def renewed_index(self, keep: int) -> tuple[bytes, int]:
        """A new part of the index, in place of all except the first *keep* ones, and how many notes it has."""
        return self._index.renewed(self._disk, keep)

    # Shared by the tools

    def _read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """At most *limit* bytes of a note, which is recorded as read by the block."""
        data = self._disk.read(path, limit)
        if not self._seen.knows(path):
            self._seen.read(path, version_of(data) if len(data) < limit else self._disk.version(path))
        return data

    def _changes(self, path: str) -> None:
        """A note is about to be changed, made or removed."""
        self._index.changed(path)
        if not self._seen.knows(path):
            self._seen.change(path, self._disk.version(path))
        else:
            self._seen.change(path, None)  # the version is known already

    def _find(self, path: str) -> str | None:
        """The existing note that *path* names; if there is none, that is recorded as seen."""
        found, kind = self._lookup.note(path)
        if kind == "file":
            return found
        self._saw_nothing(path)
        return None

    def _existing(self, file_path: str) -> str:
        """The existing note that *file_path* names, or a refusal with the nearest names."""
        path = relative(file_path)
        if not tidy(path):
            raise Refused("that is the memory's own folder; name a note, such as 'user.md'")
        found, kind = self._lookup.note(path)
        if kind == "file":
            return found
        self._saw_nothing(path)
        if kind == "other":
            raise Refused(f"{found} is no plain note (a link or device); use another note")
        if self._lookup.folder(path) is not None:
            raise Refused(f"{path!r} is not a file: it is a folder; use list_files({path!r}) to see its notes")
        self._check_readable(path)
        raise Refused(self._missing(path))

    def _check_readable(self, path: str, *, is_folder: bool = False) -> None:
        """Refuse a name that is not shown, with a text that does not reveal whether it exists."""
        rules, names = self._access.rules, [path] if is_folder else spellings(path)
        if not any(hidden_part(name) or not is_shown(name, rules, is_folder=is_folder) for name in names):
            return
        problems = [read_problem(name, rules, is_folder=is_folder) for name in names]
        if all(problems):
            raise Refused(f"{cut(path, 300)} is not shown: {problems[-1]}")

    def _check_writable(self, path: str, *, is_folder: bool = False) -> None:
        problem = write_problem(path, self._access.rules, is_folder=is_folder)
        if problem:
            raise Refused(f"{cut(path, 300)} cannot be changed: {problem}")

    def _saw_nothing(self, path: str) -> None:
        """Record that no note has any of the names that *path* may mean."""
        for name in spellings(path):
            for form in dict.fromkeys((name, nfc(name))):
                self._seen.read(form, None)

    def _missing(self, path: str) -> str:
        index = self._listing.index()
        near = index.nearest(path)
        if near:
            hint = f"Did you mean {' or '.join(near)}? Use list_files() to see all notes"
        elif len(index):
            hint = "Use list_files() to see all notes"
        else:
            hint = "There are no notes yet; create_file(file_path, content) makes one"
        return f"File {cut(path, 300)!r} does not exist. {hint}."

    def _write(self, path: str, text: str) -> None:
        self._save(path, as_bytes(text, "content"))

    def _save(self, path: str, data: bytes) -> None:
        self._check_writable(path)
        self._changes(path)
        try:
            self._disk.write(path, data)
        except OSError as error:
            error.filename = path
            raise
        self._listing.forget()

    def _attachment(self, path: str) -> str:
        """The text shown in place of an attachment's content."""
        return f"{path} is an attachment of {self._disk.size(path):,} bytes, which is not shown as text"

    def _read_text(self, path: str) -> bytes:
        data = self._read(path)
        if not is_text(path, data):
            raise Refused(f"{self._attachment(path)} and cannot be edited as text")
        return data

    def _show(self, path: str) -> str | None:
        """A note's text for the block, recorded as read; None for a file that is not shown as text."""
        data = self._read(path, SHOWN_BYTES + 1)
        if not is_text(path, data):
            return None
        if len(data) <= SHOWN_BYTES:
            return NoteText(data).shown
        size = self._disk.size(path)
        return (
            f"{NoteText(data[:SHOWN_BYTES]).shown}\n"
            f"[this note has {size:,} bytes; only the first {SHOWN_BYTES:,} are shown. Split it into smaller notes.]"
        )

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        """Path and content of every note that is not hidden."""
        notes = 0
        for start, folder, names in self._disk.walk():
            notes += len(names)
            self._index.looked_at(notes)
            attached = [name for name in names if is_attachment(name)]
            yield from ((start + name, b"") for name in attached)
            shown = [name for name in names if not is_attachment(name)] if attached else names
            yield from as_searched((start + name, data) for name, data in folder.contents(shown, READ_BYTES))

    def _linking(self, target: str) -> Iterator[tuple[str, bytes]]:
        """Path and content of every note that may link to *target*."""
        if not self._index.usable:
            return self._contents()
        keys = (name_key(target.rpartition("/")[2]), ANY_NAME)
        paths = [
            path
            for segment, live in self._index.parts(self._disk, contents=True)
            for path in segment.paths((segment.links.find(keys[0]) | segment.links.find(keys[1])) & live)
        ]
        return self._disk.contents(paths, READ_BYTES)

    def _resolve(self, link: Link) -> tuple[str, list[str]]:
        """The note that a link refers to, and the others that it could refer to."""
        target = link.target
        if not target.startswith(("./", "../")):
            plain = relative(target, "link")
            for name in (plain, f"{plain}.md"):  # most links are paths, and need no listing
                if plain and not is_hidden(name):
                    at, kind = self._lookup.find(name)
                    if kind == "file":
                        return at, []
        found = self._listing.index().resolve(target)
        if found.path is None:
            self._seen.read(for_new_note(relative(_UPWARDS.sub("", target), "link")), None)
            near = " or ".join(f"[[{path.removesuffix('.md')}]]" for path in found.suggestions)
            hint = f"did you mean {near}? " if near else ""
            raise Refused(
                f"File {cut(target, 200)!r} not found: no note is called [[{cut(target, 200)}]]: "
                f"{hint}Use list_files() to see all notes."
            )
        return found.path, list(found.candidates[1:])
