"""What a block may touch, decided from names alone: pure, and the same in the sandbox and at the commit on the host."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category

from ._names import ATTACHMENT_SUFFIXES, TEXT_SUFFIXES, suffix_of

NOTE_SUFFIXES = TEXT_SUFFIXES | ATTACHMENT_SUFFIXES


_DOTS = (".", "\u2024", "\ufe52", "\uff0e")


class WriteRules(NamedTuple):
    """What may be written.

    Attributes:
        writable: globs of paths, one of which a note must match. ``*`` and ``?`` stay within a folder, ``**`` crosses
            folders.
        suffixes: of the files that may be written, in lower case with their dot.
        read_only: nothing may be written.
    """

    writable: tuple[str, ...] = ("**",)
    suffixes: frozenset[str] = NOTE_SUFFIXES
    read_only: bool = False


def hidden_part(path: str) -> str:
    """The first name in *path* that begins with a dot, or that some file system takes for one that does; else ``""``.

    macOS ignores characters that nobody sees; other dots look the same to a person.
    """
    if "." not in path and path.isascii():
        return ""
    return next((name for name in path.split("/") if _is_hidden(name)), "")


def write_problem(path: str, rules: WriteRules, *, is_folder: bool = False) -> str:
    """Why a note or folder may not be made, changed or removed; ``""`` if it may."""
    if rules.read_only:
        return "the memory is read-only"
    hidden = hidden_part(path)
    if hidden:
        return f"{hidden!r} is a hidden name (it begins with a dot), and those are not part of the notes"
    if is_folder:
        return ""
    suffix = suffix_of(path)
    if suffix not in rules.suffixes:
        what = f"its suffix {suffix} is" if suffix else "it has no suffix, so it is"
        return f"{what} not that of a note or attachment; use a name such as {path.rpartition('/')[2]}.md"
    if not any(glob_matches(glob, path) for glob in rules.writable):
        return f"only notes that match {' or '.join(rules.writable)} may be written"
    return ""


def glob_matches(glob: str, path: str) -> bool:
    """Whether a path matches a glob: ``*`` and ``?`` stay within a folder, ``**`` crosses folders."""
    return _pattern(glob).fullmatch(path) is not None


def _is_hidden(name: str) -> bool:
    if name.isascii():
        return name.startswith(".")
    return next((char for char in name if category(char) != "Cf"), "") in _DOTS


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)
