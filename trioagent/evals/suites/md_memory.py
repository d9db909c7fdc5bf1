"""Sixty samples over five vaults written for this project: retrieval, update, clarification and filter tasks.

They are of the kinds that md-memory-bench describes. The data is in ``md_memory.json`` beside this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..._errors import InvalidInputError
from .._graders import All, Asks, Contains, NotesSay, NotesUntouched, Withholds
from .._suite import Grader, Sample, SetUp
from ._json import as_object, read_json, text_at

_FILE = Path(__file__).with_name("md_memory.json")


@attrs.frozen
class MdMemory:
    """The suite."""

    name: str = "md-memory"
    summary: str = "retrieval, update, clarification and filter tasks over five vaults; brings its data along"
    source: str = ""

    def load(self, data: Path | None) -> Iterator[Sample]:
        """See `Suite.load`.

        Args:
            data: another file of the same format; the suite's own if None.
        """
        path = _FILE if data is None else data
        body = as_object(read_json(path), str(path))
        for name, vault in as_object(body.get("vaults"), f"{path}: vaults").items():
            where = f"{path}: vaults[{name!r}]"
            row = as_object(vault, where)
            set_up = SetUp(id=name, notes=dict(as_object(row.get("notes"), f"{where}.notes")))
            for number, sample in enumerate(row.get("samples") or []):
                yield _sample(set_up, number, as_object(sample, f"{where}.samples[{number}]"), where)


def _sample(set_up: SetUp, number: int, row: Mapping[str, Any], where: str) -> Sample:
    at = f"{where}.samples[{number}]"
    kind = text_at(row, "kind", at)
    return Sample(
        id=f"{set_up.id}/{number:02}",
        category=kind,
        set_up=set_up,
        messages=(text_at(row, "say", at),),
        expected=text_at(row, "expected", at),
        grader=_grader(kind, row, at),
        judged=kind == "retrieval",
    )


def _grader(kind: str, row: Mapping[str, Any], where: str) -> Grader:
    """The kind of sample determines what is graded: the reply, the notes, or both."""
    absent = tuple(row.get("absent") or ())
    match kind:
        case "retrieval":
            return All((Contains(text_at(row, "expected", where), absent), NotesUntouched()))
        case "update":
            return NotesSay(tuple(row["present"]), absent)
        case "clarification":
            return All((Asks(tuple(row["choices"])), NotesUntouched()))
        case "filter":
            present = tuple(Contains(text) for text in row.get("present") or ())
            return All((Withholds(absent), *present))
    raise InvalidInputError(f"{where}: kind", f"must be retrieval, update, clarification or filter, not {kind!r}")


SUITE = MdMemory()
