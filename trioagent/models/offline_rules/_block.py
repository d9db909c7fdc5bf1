"""Generates the code of a turn, a call of the library with the request as data, and parses its result."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from ._plan import BlockPlan

LIBRARY = "offline_rules"
"""The name under which the sandbox offers the package `library` to blocks."""
_RESULT_CHARS = 400_000


def make_code(plan: BlockPlan, folder: str = "") -> str:
    """The block for a plan. It sets ``changes`` or ``answer``, or both: plain data of bounded size.

    Args:
        folder: the folder of the agent's own notes, ``""`` for the memory itself.
    """
    calls = []
    where = f", folder={folder!r}" if folder else ""
    if plan.ops:
        calls.append(f"changes = update_notes({_listed(plan.ops)}, tools=globals(){where})")
    if plan.ask:
        shown = {key: _listed(value, 1) if key == "words" else repr(value) for key, value in plan.ask.items()}
        rows = [f"    {key!r}: {text},\n" for key, text in shown.items()]
        calls.append(f"answer = look_up({{\n{''.join(rows)}}}, tools=globals(){where})")
    names = ["look_up"] * bool(plan.ask) + ["update_notes"] * bool(plan.ops)
    # No angle bracket in the data that could be parsed as a tag; they occur only in texts.
    text = "\n".join(calls).replace("<", "\\x3c").replace(">", "\\x3e")
    return f"from {LIBRARY} import {', '.join(names)}\n\n{text}"


def _listed(rows: Iterable[object], depth: int = 0) -> str:
    """A list as code, one element per line."""
    indent = "    " * depth
    return "[\n" + "".join(f"{indent}    {row!r},\n" for row in rows) + f"{indent}]"


def read_result(text: str) -> tuple[dict[str, Any], str]:
    """A block's ``changes`` and ``answer``, as far as they exist and can be parsed, and its error."""
    body = text.strip()
    body = body.removeprefix("<result>").removesuffix("</result>").strip()
    if len(body) > _RESULT_CHARS:
        return {}, ""
    try:
        values, error = ast.literal_eval(body)
        found = {name: values[name] for name in ("changes", "answer") if name in values}
        # A value may be given as a string of its repr.
        found = {name: ast.literal_eval(value) if isinstance(value, str) else value for name, value in found.items()}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return {}, _error_at_end(body)
    return {name: value for name, value in found.items() if isinstance(value, dict)}, str(error)


def _error_at_end(body: str) -> str:
    """The error in a result whose values cannot be parsed."""
    start = body.rfind("}, ")
    try:
        return str(ast.literal_eval(body[start + 3 :].removesuffix(")"))) if start >= 0 else ""
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return ""
