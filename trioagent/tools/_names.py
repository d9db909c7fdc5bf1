"""Names of notes: which spellings are the same name, and what a new note may be called. Pure: no file is touched.

A note may be named without its ``.md``. Names that are equal under Unicode's NFC are one name, whichever form the file
system stores (macOS stores NFD). A suffix that is not a known file type is part of a note's name: ``Vue.js`` is the
note ``Vue.js.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice, product
from unicodedata import combining, normalize

from ._paths import relative
from ._results import Refused

TEXT_SUFFIXES = frozenset((".md", ".txt", ".csv", ".tsv", ".json", ".canvas", ".base", ".bib"))
"""Suffixes of text files that are kept; all other text files are notes and get ``.md``."""

ATTACHMENT_SUFFIXES = frozenset(
    (
        ".avif .bmp .gif .jpeg .jpg .png .svg .webp "  # images
        ".3gp .flac .m4a .mp3 .ogg .wav "  # audio
        ".mkv .mov .mp4 .ogv .webm "  # video
        ".pdf"
    ).split()
)
"""Files that Obsidian shows beside notes; here they are named, and never shown as text."""

_SUFFIX = re.compile(r"\.[A-Za-z0-9]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WIKI_LINK = re.compile(r"!?\[\[([^\[\]|#^]+)[^\[\]]*\]\]")
_UNLINKABLE = re.compile(r"[#^|\[\]\\:]")
_MUSICAL = re.compile(r"(?<![^\W_])([A-Za-z])#(?![^\W_])")
_BLANKS = re.compile(r"\s+")
_SAME_UNDER_NFC = {"K": "\u212a", ";": "\u037e", "`": "\u1fef"}
"""The ASCII characters that some other character becomes under NFC (Kelvin, Greek question mark, Greek varia)."""
_MAX_FORMS = 8


def suffix_of(path: str) -> str:
    """The suffix of a file's name in lower case, with its dot; ``""`` if it has none."""
    match = _SUFFIX.search(path, path.rfind("/") + 2)
    return match[0].lower() if match else ""


def is_attachment(path: str) -> bool:
    """Whether a file is an image, audio, video or PDF by its name."""
    return not path.endswith(".md") and suffix_of(path) in ATTACHMENT_SUFFIXES


def is_text(path: str, data: bytes) -> bool:
    """Whether a file, given its first bytes, is shown as text and searched: no attachment, no unknown binary file."""
    if path.endswith(".md"):
        return True  # most files are notes
    suffix = suffix_of(path)
    return suffix in TEXT_SUFFIXES or (suffix not in ATTACHMENT_SUFFIXES and b"\0" not in data[:1024])


def as_searched(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Path and content of files, without the content of those that are not shown as text."""
    for path, data in files:
        yield path, data if is_text(path, data) else b""


def has_sections(path: str) -> bool:
    """Whether ``#`` in a link to a file names a heading or block of it, not a page, time, size or view."""
    suffix = suffix_of(path)
    return suffix in (".md", ".txt") or not (suffix in TEXT_SUFFIXES or suffix in ATTACHMENT_SUFFIXES)


def without_md(path: str) -> str:
    """*path* without ``.md``, in any case."""
    return path[:-3] if path[-3:].lower() == ".md" else path


def nfc(name: str) -> str:
    """The form in which names are compared."""
    return name if name.isascii() else normalize("NFC", name)


def usual_forms(name: str) -> list[str]:
    """*name* and the equal texts under NFC that file systems and keyboards produce, itself first."""
    if not name.isascii():
        return list(dict.fromkeys((name, normalize("NFC", name), normalize("NFD", name))))
    if _SAME_UNDER_NFC.keys().isdisjoint(name):
        return [name]
    choices = [(char, _SAME_UNDER_NFC[char]) if char in _SAME_UNDER_NFC else (char,) for char in name]
    return ["".join(each) for each in islice(product(*choices), _MAX_FORMS)]


def has_rare_forms(name: str) -> bool:
    """Whether texts other than the usual forms are equal to *name*: with several accents, forms may be mixed."""
    return not name.isascii() and sum(1 for char in normalize("NFD", name) if combining(char)) > 1


def tidy(path: str) -> str:
    """A relative path without backslashes and without blanks around it."""
    return relative(path.strip().replace("\\", "/"))


def spellings(path: str) -> list[str]:
    """The names that an existing note requested as *path* may have, the likeliest first."""
    plain = list(dict.fromkeys((path, tidy(path))))
    with_md = [f"{each}.md" for each in plain if not each.endswith(".md")]
    lower_md = [f"{without_md(each)}.md" for each in plain if suffix_of(each) == ".md"]
    return [name for name in dict.fromkeys((*plain, *with_md, *lower_md)) if name not in ("", ".md")]


def for_new_note(path: str) -> str:
    """The name of a new note requested as *path*: it gets ``.md``, unless it has a known suffix."""
    suffix = suffix_of(path)
    if suffix == ".md":
        return f"{without_md(path)}.md"
    return path if suffix in TEXT_SUFFIXES or suffix in ATTACHMENT_SUFFIXES else f"{path}.md"


def check_new_names(asked: str, folder: str, names: str, *, is_note: bool) -> None:
    """Refuse names that links cannot contain or that other systems cannot store, and suggest a better one.

    Args:
        asked: the whole path, as requested.
        folder: the part of it that exists, ``""`` or with a ``/`` at its end.
        names: the rest, which is new.
        is_note: whether the last of *names* is a note's.

    Raises:
        Refused: it says why, and what to use.
    """
    if _CONTROL.search(names.strip()):
        raise Refused(f"{asked[:100]!r} has a line break or control character in it; a path is one line of text")
    better = nfc(_better(names, is_note))
    if better == names:
        return
    found = sorted(set(_UNLINKABLE.findall(names)))
    why = f"has {' '.join(found)} in it, which breaks links" if found else "has a dot or blank at the end of a name"
    raise Refused(f"the name {asked[:200]!r} {why}; use {folder + (for_new_note(better) if is_note else better)!r}")


def new_name_problem(name: str, *, is_note: bool) -> str:
    """The reason of `check_new_names` to refuse the name of a new note or folder; ``""`` if it is allowed."""
    try:
        check_new_names(name, "", name, is_note=is_note)
    except Refused as refusal:
        return str(refusal)
    return ""


def _better(names: str, is_note: bool) -> str:
    suffix = ""
    if is_note and for_new_note(names).lower() == names.lower():
        suffix = suffix_of(names)
        names, suffix = names[: -len(suffix)], names[-len(suffix) :]
    if _UNLINKABLE.search(names):
        names = _MUSICAL.sub(r"\1 sharp", _WIKI_LINK.sub(r"\1", names)).replace("\\", "/")
        names = names.replace(":", " - ").replace("|", " - ")
        names = "/".join(_BLANKS.sub(" ", _UNLINKABLE.sub("", name)).strip(" -") for name in names.split("/"))
        names = "/".join(name.lstrip(". ") for name in names.split("/"))
    parts = [_without_bad_end(name) for name in names.split("/")]
    if is_note and not parts[-1]:
        parts[-1] = "note"
    return ("/".join(filter(None, parts)) or "notes") + suffix


def _without_bad_end(name: str) -> str:
    while name != (name := name.rstrip().rstrip(".")):
        pass
    return name
