"""What a block may touch, decided from names alone: pure, and the same in the sandbox and at the commit on the host."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import category

from ._names import ATTACHMENT_SUFFIXES, TEXT_SUFFIXES, nfc, suffix_of

NOTE_SUFFIXES = TEXT_SUFFIXES | ATTACHMENT_SUFFIXES


_DOTS = (".", "\u2024", "\ufe52", "\uff0e")


class AccessRules(NamedTuple):
    """What a block may touch.

    A list of globs admits a path that matches one of them and no glob that begins with ``!``; a list of
    such exceptions alone admits all others. ``*`` and ``?`` stay within a folder, ``**`` crosses folders.

    Attributes:
        readable: lists of globs, each of which must admit a note that is shown; none for all notes.
        writable: globs that must admit a note that is written.
        suffixes: of the files that may be written, in lower case with their dot.
        read_only: nothing may be written.
    """

    readable: tuple[tuple[str, ...], ...] = ()
    writable: tuple[str, ...] = ("**",)
    suffixes: frozenset[str] = NOTE_SUFFIXES
    read_only: bool = False

    def as_data(self) -> dict[str, Any]:
        """The rules as JSON values; see :meth:`from_data`."""
        return {**self._asdict(), "suffixes": sorted(self.suffixes)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> AccessRules:
        return cls(
            tuple(map(tuple, data["readable"])), tuple(data["writable"]), frozenset(data["suffixes"]), data["read_only"]
        )


DEFAULT_RULES = AccessRules()
"""All notes may be read, and notes and attachments written."""


class Access:
    """The rules for a block, which a process that was started ahead gets when its block arrives."""

    def __init__(self) -> None:
        self.rules = DEFAULT_RULES


def hidden_part(path: str) -> str:
    """The first name in *path* that begins with a dot, or with a character that counts as one; else ``""``.

    macOS ignores invisible characters; other dots look the same to a person.
    """
    if path.isascii() and path[:1] != "." and "/." not in path:
        return ""
    return next((name for name in path.split("/") if _is_hidden(name)), "")


def is_shown(path: str, rules: AccessRules, *, is_folder: bool = False) -> bool:
    """Whether a note may be read, or whether a folder may contain one that may. Hidden names: see `hidden_part`."""
    decide = _may_hold if is_folder else admits
    return all(decide(globs, path) for globs in rules.readable)


def read_problem(path: str, rules: AccessRules, *, is_folder: bool = False) -> str:
    """Why no note of this name is shown, whether it exists or not; ``""`` if it would be."""
    hidden = hidden_part(path)
    if hidden:
        return f"{hidden!r} is a hidden name (it begins with a dot), and those are not part of the notes"
    refusing = (globs for globs in rules.readable if not (_may_hold if is_folder else admits)(globs, path))
    globs = next(refusing, None)
    return "" if globs is None else f"it may not be read here: only {_described(globs)} may be"


def write_problem(path: str, rules: AccessRules, *, is_folder: bool = False) -> str:
    """Why a note or folder may not be made, changed or removed; ``""`` if it may."""
    if rules.read_only:
        return "the memory is read-only"
    hidden = hidden_part(path)
    if hidden:
        return f"{hidden!r} is a hidden name (it begins with a dot), and those are not part of the notes"
    if not is_shown(path, rules, is_folder=is_folder):
        return f"{read_problem(path, rules, is_folder=is_folder)}, and what may not be read cannot be written either"
    if is_folder:
        return ""
    suffix = suffix_of(path)
    if suffix not in rules.suffixes:
        what = f"its suffix {suffix} is" if suffix else "it has no suffix, so it is"
        return f"{what} not that of a note or attachment; use a name such as {path.rpartition('/')[2]}.md"
    if not admits(rules.writable, path):
        return f"only {_described(rules.writable)} may be written"
    return ""


def glob_matches(glob: str, path: str) -> bool:
    """Whether a path matches a glob: ``*`` and ``?`` stay within a folder, ``**`` crosses folders.

    Names that are equal under NFC are one name.
    """
    return _pattern(nfc(glob)).fullmatch(nfc(path)) is not None


def admits(globs: tuple[str, ...], path: str) -> bool:
    """Whether a list of globs admits the note at *path* (see `AccessRules`)."""
    if globs == ("**",):
        return True
    wanted, unwanted = _split(globs)
    return (not wanted or any(glob_matches(glob, path) for glob in wanted)) and not _excluded(unwanted, path)


def _may_hold(globs: tuple[str, ...], folder: str) -> bool:
    """Whether a list of globs may admit something below *folder*."""
    if not folder or globs == ("**",):
        return True
    wanted, unwanted = _split(globs)
    return (not wanted or any(_reaches_below(glob, folder) for glob in wanted)) and not _excluded(
        [glob[:-3] for glob in unwanted if glob.endswith("/**")], folder, below=True
    )


def _split(globs: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The globs, and the exceptions without their mark."""
    return [glob for glob in globs if glob[0] != "!"], [glob[1:] for glob in globs if glob[0] == "!"]


def _excluded(unwanted: list[str], path: str, *, below: bool = False) -> bool:
    """Whether an exception matches *path*, in any case: protection must not depend on a spelling.

    *below*: or a folder above it.
    """
    if not unwanted:
        return False
    if not path.isascii():
        path = "".join(char for char in path if category(char) != "Cf")  # which some file systems ignore
    path = path.casefold()
    parts = path.split("/")
    paths = ["/".join(parts[: count + 1]) for count in range(len(parts))] if below else [path]
    return any(glob_matches(glob.casefold(), each) for glob in unwanted for each in paths)


def _reaches_below(glob: str, folder: str) -> bool:
    """Whether *glob* may match something below *folder*."""
    parts, names = glob.split("/"), folder.split("/")
    for part, name in zip(parts, names, strict=False):
        if "**" in part:
            return True
        if not glob_matches(part, name):
            return False
    return len(parts) > len(names)


def _described(globs: tuple[str, ...]) -> str:
    wanted, unwanted = _split(globs)
    words = f"notes that match {' or '.join(wanted)}" if wanted else "other notes"
    return f"{words}, but not {' or '.join(unwanted)}," if wanted and unwanted else words


def _is_hidden(name: str) -> bool:
    if name.isascii():
        return name.startswith(".")
    return next((char for char in name if category(char) != "Cf"), "") in _DOTS


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)
