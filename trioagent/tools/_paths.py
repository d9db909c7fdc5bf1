"""Paths as a model writes them, made into paths relative to the memory. Pure text: no file is touched here.

A path is relative to the memory and ``/``-separated; a leading ``/`` or ``./`` means the memory's own folder; ``..``
works as long as it stays inside. A note may be named without its ``.md``. Blanks around a path and backslashes are
forgiven when nothing has literally that name.
"""

from __future__ import annotations

import os
import re

from ._results import Refused, ToolError
from ._text import encode

MAX_DEPTH = 64
"""Folders in a path; a memory allows fewer, this only keeps loops short."""

RESERVED = ".trioagent"
"""The host's own folder in a memory; tools neither show nor touch it."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def as_text(value: object, name: str, example: str) -> str:
    """*value* as text, or a refusal that names the argument."""
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
    """The normalised path, ``""`` for the memory's own folder; blanks and backslashes are kept as they are."""
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
    if parts and parts[0].casefold() == RESERVED:
        raise Refused(f"{RESERVED} is no part of the notes; choose another name")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise Refused(f"{name} {path[:100]!r} has characters that no file name can have; leave them out") from None
    return "/".join(parts)


def tidy(path: str) -> str:
    """A relative path without backslashes and without blanks around it."""
    return relative(path.strip().replace("\\", "/"))


def spellings(path: str) -> list[str]:
    """The names an existing note may have that was asked for as *path*, the likeliest first."""
    plain = list(dict.fromkeys((path, tidy(path))))
    return [name for name in (*plain, *(f"{p}.md" for p in plain if not p.endswith(".md"))) if name not in ("", ".md")]


def for_new_note(path: str) -> str:
    """The path a new note gets: ``.md`` is added to a name without a suffix."""
    path = tidy(path)
    if not path:
        raise Refused("that is the memory's own folder; name a note, such as 'entities/ada.md'")
    if _CONTROL.search(path):
        raise Refused(f"{path[:100]!r} has a line break or control character in it; a path is one line of text")
    return path if _SUFFIX.search(path.rpartition("/")[2], 1) else f"{path}.md"


def is_hidden(path: str) -> bool:
    """Whether a file or one of its folders has a name with a leading dot."""
    return path.startswith(".") or "/." in path
