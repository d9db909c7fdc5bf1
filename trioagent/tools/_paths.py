"""Paths as a model writes them, converted to paths relative to the memory. Pure: no file is touched.

A path is relative to the memory and ``/``-separated; a leading ``/`` or ``./`` means the memory's own folder; ``..``
works as long as it stays inside. Which spellings name the same note is decided in :mod:`._names`.
"""

from __future__ import annotations

import os
from unicodedata import category, normalize

from ._results import Refused, ToolError
from ._text import encode

MAX_DEPTH = 64
"""Folders in a path; a memory allows fewer, this only bounds loops."""

RESERVED = ".trioagent"
"""The host's own folder in a memory: staged notes, the commit record, receipts, the history.

Tools neither show nor touch it, and it exists only while it contains one of these.
"""


def is_reserved(name: str) -> bool:
    """Whether this name, in the memory's own folder, is the host's, or begins with the host's, in any spelling.

    File systems may treat names as equal that differ in case, in invisible characters or in their Unicode form,
    and FAT has short names.
    """
    if name.isascii():
        plain = name.lower()
    else:
        plain = "".join(char for char in normalize("NFKC", name) if category(char) != "Cf").casefold()
    return plain.lstrip().startswith((RESERVED, "trioag~"))


def as_text(value: object, name: str, example: str) -> str:
    """*value* as text, or a refusal that names the argument."""
    if type(value) is str:  # before the slower check that also accepts other kinds of text
        return value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, ToolError):
        raise Refused(f"{name} is the error text of another tool ({str(value)[:200]!r}); look at that error first")
    if not isinstance(value, str):
        raise Refused(f"{name} must be text such as {example!r}, not {type(value).__name__}")
    return value


def as_count(value: object, name: str) -> int:
    """*value* as a number above 0, or a refusal that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refused(f"{name} must be a whole number above 0, not {value!r:.100}")
    return value


def as_bytes(text: str, name: str) -> bytes:
    """The bytes of a text, or a refusal if it has half characters (lone surrogates)."""
    try:
        return encode(text)
    except UnicodeEncodeError as error:
        at = f"{text[error.start]!r} at {error.start}"
        raise Refused(f"{name} has a character that cannot be saved ({at}); leave it out") from None


def relative(value: object, name: str = "file_path") -> str:
    """The normalised path, ``""`` for the memory's own folder; blanks and backslashes are kept."""
    path = as_text(value, name, "entities/ada.md")
    if "\0" in path:
        raise Refused(f"{name} {path[:100]!r} has a NUL character in it; leave that out")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise Refused(f"{path!r} leads out of the memory; paths start at the memory, such as 'entities/ada.md'")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if len(parts) > MAX_DEPTH:
        raise Refused(f"{path[:100]!r} has more than {MAX_DEPTH} folders; use a shorter path")
    if parts and is_reserved(parts[0]):
        raise Refused(f"{RESERVED} is no part of the notes; choose another name")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise Refused(f"{name} {path[:100]!r} has characters that no file name can have; leave them out") from None
    return "/".join(parts)


def is_hidden(path: str) -> bool:
    """Whether a file or one of its folders has a name with a leading dot."""
    return path.startswith(".") or "/." in path
