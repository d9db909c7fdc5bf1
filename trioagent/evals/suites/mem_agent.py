"""Memories with questions some links away from ``user.md``, and changes with the diff they should lead to.

Data: ``<person>/<memory>/`` folders with ``base_memory.json`` (``user_md``, ``entities``), ``retrieval_questions.json``
(by hops; ``q``, ``a``) and ``update_queries.json`` (by hops; ``query``, ``diff``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from .._graders import Contains, NotesChanged, facts_of_diff
from .._suite import Sample, SetUp, need_data
from ._json import as_object, read_json, text_at

_BASE, _ASKED, _UPDATES = "base_memory.json", "retrieval_questions.json", "update_queries.json"


@attrs.frozen
class MemAgent:
    """The suite."""

    name: str = "mem-agent"
    summary: str = "questions 0, 1 and 2 links away, and changes with the diff they should lead to"
    source: str = (
        "the memories that mem-agent models are trained and tested with: <person>/<memory>/ folders with "
        f"{_BASE}, {_ASKED} and {_UPDATES}"
    )

    def load(self, data: Path | None) -> Iterator[Sample]:
        """See `Suite.load`."""
        root = need_data(self, data)
        for path in sorted(root.glob(f"**/{_BASE}")):
            folder = path.parent
            set_up = SetUp(id=folder.relative_to(root).as_posix(), notes=_notes(path))
            if (folder / _ASKED).exists():
                yield from _questions(set_up, folder / _ASKED)
            if (folder / _UPDATES).exists():
                yield from _changes(set_up, folder / _UPDATES)


def _notes(path: Path) -> dict[str, str]:
    base = as_object(read_json(path), str(path))
    notes = {"user.md": text_at(base, "user_md", str(path))}
    for number, entity in enumerate(base.get("entities") or []):
        where = f"{path}: entities[{number}]"
        row = as_object(entity, where)
        notes[text_at(row, "entity_file_path", where)] = text_at(row, "entity_file_content", where)
    return notes


def _rows(path: Path) -> Iterator[tuple[str, int, str, Any]]:
    for hops, rows in as_object(read_json(path), str(path)).items():
        for number, row in enumerate(rows):
            if isinstance(row, dict):
                yield hops.replace("_", "-"), number, f"{path}: {hops}[{number}]", row


def _questions(set_up: SetUp, path: Path) -> Iterator[Sample]:
    for hops, number, where, row in _rows(path):
        questions = row["q"] if isinstance(row.get("q"), list) else [text_at(row, "q", where)]
        expected = text_at(row, "a", where)
        for variant, question in enumerate(questions):
            yield Sample(
                id=f"{set_up.id}/{hops}/{number}.{variant}",
                category=hops,
                set_up=set_up,
                messages=(str(question),),
                expected=expected,
                grader=Contains(expected),
            )


def _changes(set_up: SetUp, path: Path) -> Iterator[Sample]:
    for hops, number, where, row in _rows(path):
        diff = text_at(row, "diff", where)
        added, removed = facts_of_diff(diff)
        if not added and not removed:
            continue  # it cannot be graded
        yield Sample(
            id=f"{set_up.id}/update-{hops}/{number}",
            category=f"update-{hops}",
            set_up=set_up,
            messages=(text_at(row, "query", where),),
            expected=diff,
            grader=NotesChanged(tuple(added), tuple(removed)),
            judged=False,
        )


SUITE = MemAgent()
