"""`offline_rules`: the library that blocks of the embedded model import; any block may.

It is a separate package that uses only the standard library: the sandbox offers it to blocks under this name, and it
works on the notes with the block's own tools. Host code uses only its functions on words (`_words`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._notes import Notes

# A block usually does one of these things, and pays for each module that it imports: hence the local imports below.


def update_notes(operations: Iterable[dict[str, Any]], *, tools: Mapping[str, Any], folder: str = "") -> dict[str, Any]:
    """Carry out the operations in order.

    Args:
        operations: such as ``{"op": "note", "text": "…"}``; the others are ``put`` and ``link`` for facts, ``swap``
            and ``drop`` for corrections, and ``forget``.
        tools: the block's ``globals()``, with the tools in it.
        folder: the folder of the agent's own notes, ``""`` for the memory itself.

    Returns:
        The results, at most ten of each kind: lists under ``saved``, ``changed``, ``removed``, ``known``, ``missed``
        and ``failed``.
    """
    operations = list(operations)
    notes = Notes(tools, folder)
    if any(op["op"] in ("swap", "drop", "forget") for op in operations):
        from ._reviser import Reviser

        editor: Any = Reviser(notes)
    else:
        from ._editor import Editor

        editor = Editor(notes)
    for op in operations:
        getattr(editor, op["op"])(op)
    return {what: rows[:10] for what, rows in editor.done.items()}


def look_up(question: dict[str, Any], *, tools: Mapping[str, Any], folder: str = "") -> dict[str, Any]:
    """The line that answers a question best.

    Args:
        question: its words with their synonyms, and the kind of answer wanted.
        tools: the block's ``globals()``, with the tools in it.
        folder: the folder of the agent's own notes, ``""`` for the memory itself.

    Returns:
        The number of ``notes``, and the lines ``found`` (up to three that explain the question equally well); if there
        are none, the line that came ``near`` and the first lines of the note that it is all ``about``.
    """
    from ._finder import Finder

    notes = Notes(tools, folder)
    return {"notes": len(notes.paths), **Finder(notes, question).find()}
