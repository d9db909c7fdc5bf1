"""Replacing one passage of a note. Pure."""

from __future__ import annotations

from ._advice import not_found, too_often
from ._paths import as_text
from ._results import Refused, ToolError
from ._text import NoteText


def replace_once(path: str, data: bytes, old_content: object, new_content: object) -> bytes:
    """The note's *data* with *old_content*, which must be in it exactly once, replaced.

    Raises:
        Refused: it is not, or the arguments are not texts; the text has the most similar lines.
    """
    note = NoteText(data)
    old = as_text(old_content, "old_content", "- city: Paris").replace("\r\n", "\n")
    new = as_text(new_content, "new_content", "- city: Berlin")
    if not old and note.shown:
        raise Refused(
            "old_content is empty; give a text that is in the note. "
            "To add a line, give the line before it as old_content, and both lines as new_content"
        )
    times = note.shown.count(old) if old else 1
    if times != 1:
        raise Refused(too_often(path, note.shown, old, times) if times else not_found(path, note.shown, old))
    start = note.shown.index(old)
    return note.splice(start, start + len(old), new)


def edited(path: str, data: bytes, old_content: str, new_content: str) -> bytes | ToolError:
    """`replace_once` for the host, with the refusal as a text."""
    try:
        return replace_once(path, data, old_content, new_content)
    except Refused as refusal:
        return ToolError(str(refusal))
