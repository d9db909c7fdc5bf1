"""Personas and facts from a JSON Lines file, with every bad row named."""

from __future__ import annotations

from pathlib import Path

from .._config import Flow
from .._errors import InvalidInputError
from .._runs import BadJobsError, BadRow, checked_rows
from .._wire import short
from ._flows import check_facts
from ._persona import Fact, Persona, read_facts, read_persona
from ._scripted import script


def read_personas(
    path: str | Path, flow: Flow = "introduce", *, scripted: bool = False
) -> tuple[list[Persona], list[tuple[Fact, ...]]]:
    """The personas of a file and the facts of each. A row is ``{"persona": {…}, "facts": [{…}, …]}``.

    Args:
        flow: the flow that the facts must be usable in.
        scripted: they are for a `ScriptedPersona`, which needs more.

    Raises:
        BadJobsError: rows that cannot be used; all are named.
        InvalidInputError: the file cannot be read, or contains no persona.
    """
    path = Path(path)
    good: list[tuple[Persona, tuple[Fact, ...]]] = []
    bad: list[BadRow] = []
    try:
        for _, row in checked_rows(path, lambda row: _read(row, flow, scripted=scripted)):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                good.append(row)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    if bad:
        raise BadJobsError(str(path), tuple(bad))
    if not good:
        raise InvalidInputError(str(path), "holds no persona")
    return [persona for persona, _ in good], [facts for _, facts in good]


def _read(row: object, flow: Flow, *, scripted: bool) -> tuple[Persona, tuple[Fact, ...]]:
    if not isinstance(row, dict) or row.keys() != {"persona", "facts"}:
        raise InvalidInputError("row", f'must be {{"persona": {{…}}, "facts": […]}}, not {short(row)}')
    facts = read_facts(row["facts"])
    persona = read_persona(row["persona"])
    check_facts(flow, facts, "facts", persona)
    if scripted:
        script(persona, facts, flow, num_turns=1)
    return persona, facts
