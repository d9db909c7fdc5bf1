"""A memory as seen from outside: its tree, its notes, search, backlinks. Read-only and synchronous."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError
from ..memory import Memory, Vault
from ..tools import NoResults, NoteText, version_of
from ..tools.links import front_matter
from ._markdown import to_tree
from ._memories import vault_of

MOST_BYTES = 1024 * 1024
"""The part of a note that is shown."""
_HIT = re.compile(r":(\d+): ")


@attrs.frozen
class NoteEntry:
    """A file in a memory: its path and size in bytes."""

    path: str
    bytes: int


@attrs.frozen
class NoteTree:
    """Every file that agents see, sorted by path, and their total size in bytes."""

    notes: Sequence[NoteEntry]
    bytes: int


@attrs.frozen
class NoteLink:
    """A link in a note.

    Attributes:
        line: from 1.
        shown: the link as written, such as ``[[ada#Work]]``.
        path: the note that it leads to, or null.
        problem: what is wrong with it, or "".
    """

    line: int
    shown: str
    path: str | None
    problem: str


@attrs.frozen
class FrontMatterValue:
    """A value of a note's front matter, as text."""

    name: str
    value: str


@attrs.frozen(kw_only=True)
class NoteView:
    """A note.

    Attributes:
        version: the version of its content, to be named by a write that replaces it.
        cut: *text* and *body* hold only the beginning.
        text: as agents see it.
        body: the note rendered as a tree of elements: a text, or ``[tag, attributes, ...children]``.
        front_matter_problem: what is wrong with the front matter, or "".
        backlinks: the notes that link to it.
    """

    path: str
    version: str
    bytes: int
    cut: bool
    text: str
    body: Sequence[Any]
    front_matter: Sequence[FrontMatterValue]
    front_matter_problem: str
    links: Sequence[NoteLink]
    backlinks: Sequence[str]


@attrs.frozen
class SearchHit:
    """A line that matches a query."""

    path: str
    line: int
    text: str


def read_tree(memory: Memory) -> NoteTree:
    """List the files of a memory."""
    sizes = vault_of(memory).sizes()
    return NoteTree([NoteEntry(path, size) for path, size in sizes.items()], sum(sizes.values()))


def read_note(memory: Memory, name: str) -> NoteView:
    """A note: its text, its rendering, its version, and its links.

    Args:
        memory: the memory; its policy applies.
        name: the note's path, or the text of a link to it.

    Raises:
        InvalidInputError: there is no such note.
    """
    vault = vault_of(memory)
    path = vault.note(name)
    data = vault.data(path)
    text = NoteText(data[:MOST_BYTES]).shown
    values, body, problem = front_matter(text)
    first_line = 1 + text.count("\n", 0, len(text) - len(body))
    return NoteView(
        path=path,
        version=version_of(data),
        bytes=len(data),
        cut=len(data) > MOST_BYTES,
        text=text,
        body=to_tree(body, lambda link: vault.meaning(link, path), first_line),
        front_matter=[FrontMatterValue(key, _as_text(value)) for key, value in (values or {}).items()],
        front_matter_problem=problem or "",
        links=[NoteLink(out.link.line, str(out), out.target, out.problem) for out in vault.links(path)],
        backlinks=_backlinks(vault, path),
    )


def read_backlinks(memory: Memory, name: str) -> Sequence[str]:
    """The notes that link to a note, sorted.

    Raises:
        InvalidInputError: there is no such note.
    """
    vault = vault_of(memory)
    return _backlinks(vault, vault.note(name))


def _backlinks(vault: Vault, path: str) -> Sequence[str]:
    found = vault.tools.backlinks(path)
    return [] if isinstance(found, NoResults) else [source for source in found if source in vault.index]


def search(memory: Memory, query: str, limit: int) -> Sequence[SearchHit]:
    """The lines that match *query* best, best first.

    Raises:
        InvalidInputError: the query has no words.
    """
    vault = vault_of(memory)
    found = vault.tools.search(query, limit)
    if isinstance(found, NoResults):
        raise InvalidInputError("q", "has no words; give one or more words to look for")
    return [hit for line in found for hit in _hit(vault, line)]


def _hit(vault: Vault, line: str) -> Iterator[SearchHit]:
    """One line of search output; its path may contain what looks like a line number."""
    for match in _HIT.finditer(line):
        if line[: match.start()] in vault.index:
            yield SearchHit(line[: match.start()], int(match[1]), line[match.end() :])
            return


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return "" if value is None else str(value)
