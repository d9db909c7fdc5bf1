"""Three suites of the letta-evals repository: facts that are stated, facts that change, and files to work through.

Data: the folder with ``core_memory_read.jsonl``, ``core_memory_update.jsonl``, ``filesystem_code.jsonl``, ``files/``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import attrs

from .._graders import Contains
from .._suite import Sample, SetUp, need_data
from ._json import as_object, read_lines, text_at, texts_at

_SOURCE = "the letta-evals repository (Apache-2.0)"
_READ, _UPDATE, _FILES = "core_memory_read.jsonl", "core_memory_update.jsonl", "filesystem_code.jsonl"


@attrs.frozen
class CoreMemory:
    """Facts are stated one by one; then one of them is asked for. In the update suite one changes before that."""

    name: str
    summary: str
    file: str
    changes: bool
    source: str = _SOURCE

    def load(self, data: Path | None) -> Iterator[Sample]:
        """See `Suite.load`."""
        path = need_data(self, data, self.file) / self.file
        for number, (where, row) in enumerate(read_lines(path)):
            arguments = as_object(row.get("agent_args"), f"{where}: agent_args")
            extra = as_object(arguments.get("extra"), f"{where}: agent_args.extra")
            facts = texts_at(extra, "facts", where)
            expected = text_at(row, "ground_truth", where)
            message = text_at(row, "input", where)
            change = (text_at(extra, "contradicting_fact", where).strip('"'),) if self.changes else ()
            yield Sample(
                id=f"{self.name}/{number}",
                category="update" if self.changes else "read",
                set_up=SetUp(id=hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16], messages=facts),
                messages=(*change, message),
                expected=expected,
                grader=Contains(expected),
            )


@attrs.frozen
class Filesystem:
    """Questions over files of records, which have to be joined by ids."""

    name: str = "letta-filesystem"
    summary: str = "questions over files of records that have to be joined"
    source: str = _SOURCE

    def load(self, data: Path | None) -> Iterator[Sample]:
        """See `Suite.load`."""
        root = need_data(self, data, _FILES, "files")
        notes = {path.name: path.read_text(encoding="utf-8") for path in sorted((root / "files").glob("*.txt"))}
        set_up = SetUp(id="files", notes=notes)
        for number, (where, row) in enumerate(read_lines(root / _FILES)):
            arguments = as_object(row.get("agent_args"), f"{where}: agent_args")
            extra = as_object(arguments.get("extra"), f"{where}: agent_args.extra")
            expected = text_at(row, "ground_truth", where)
            yield Sample(
                id=f"{self.name}/{number}",
                category=text_at(extra, "question_type", where),
                set_up=set_up,
                messages=(text_at(row, "input", where).replace("{pwd}", "your notes"),),
                expected=expected,
                grader=Contains(expected),
            )


READ = CoreMemory("letta-core-read", "facts are told, then one is asked for", _READ, changes=False)
UPDATE = CoreMemory("letta-core-update", "facts are told, one changes, then it is asked for", _UPDATE, changes=True)
FILESYSTEM = Filesystem()
