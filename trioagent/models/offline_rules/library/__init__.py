"""`offline_rules`: what the blocks of the embedded model import, and a block of anybody's may.

It is a package of its own on the standard library alone: the sandbox offers it to blocks under this name, and there it
works on the notes with the block's own tools. Host code takes only what words mean from it (`_words`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._notes import Notes

# A block does one of these things as a rule, and pays for each module that it imports: hence the imports below.


def update_notes(operations: Iterable[dict[str, Any]], *, tools: Mapping[str, Any], folder: str = "") -> dict[str, Any]:
    """Carry out the operations in order.

    Args:
        operations: such as ``{"op": "note", "text": "…"}``; the others are ``put`` and ``link`` for facts, ``swap``
            and ``drop`` for corrections, and ``forget``.
        tools: the block's ``globals()``, with the tools in it.
        folder: of the agent's own notes, ``""`` for the memory itself.

    Returns:
        What came of them, at most ten of each: lists under ``saved``, ``changed``, ``removed``, ``known``, ``missed``
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
        question: its words with what they may stand for, and what kind of answer it wants.
        tools: the block's ``globals()``, with the tools in it.
        folder: of the agent's own notes, ``""`` for the memory itself.

    Returns:
        How many ``notes`` there are, and the lines ``found`` (up to three that explain the question equally well), else
        the one that came ``near`` and what the notes say ``about`` the whole of it.
    """
    from ._finder import Finder

    notes = Notes(tools, folder)
    return {"notes": len(notes.paths), **Finder(notes, question).find()}
