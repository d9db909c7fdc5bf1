"""The files a batch leaves in its run directory, made of what the journal holds.

``conversations.jsonl`` and ``failures.jsonl`` are written anew from the journal when a run starts and grow by a row as
each job ends, after the journal has it. So they are complete and free of duplicates whenever the command has ended;
after a ``kill -9`` the last row may be missing or torn until the batch is started again.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import trio

from .._errors import ModelError, TrioAgentError
from .._files import write_whole
from ._journal_reader import JournalReader

CONVERSATIONS = "conversations.jsonl"
FAILURES = "failures.jsonl"
REPORT = "report.json"
STATUS = "status.json"


class Outputs:
    """The two files, open for appending. Synchronous; for use in a worker thread.

    Args:
        retry_failed: jobs that had failed are tried again, so their old rows may be out of date in the end.
    """

    def __init__(self, run_dir: Path, retry_failed: bool) -> None:
        self._run_dir, self._retry_failed = run_dir, retry_failed
        self._files = {
            "done": _rewritten(run_dir, CONVERSATIONS, "done"),
            "failed": _rewritten(run_dir, FAILURES, "failed"),
        }

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        if self._retry_failed:
            _rewritten(self._run_dir, FAILURES, "failed").close()

    def add(self, state: Literal["done", "failed"], job_id: str, attempts: int, outcome: Mapping[str, Any]) -> None:
        """Append one row."""
        self._files[state].write(_line(row(state, job_id, attempts, outcome)))
        self._files[state].flush()


@asynccontextmanager
async def open_outputs(run_dir: Path, retry_failed: bool) -> AsyncIterator[Outputs]:
    """The two files, made of the journal, until the run has ended."""
    outputs = await trio.to_thread.run_sync(Outputs, run_dir, retry_failed)
    try:
        yield outputs
    finally:
        with trio.CancelScope(shield=True):  # bounded: local files
            await trio.to_thread.run_sync(outputs.close)


def _rewritten(run_dir: Path, name: str, state: Literal["done", "failed"]) -> Any:
    temporary = run_dir / f".{name}.tmp"
    with open(temporary, "wb") as file, JournalReader(run_dir) as journal:
        file.writelines(_line(row(state, *record)) for record in journal.outcomes(state))
    os.replace(temporary, run_dir / name)
    return open(run_dir / name, "ab")


def row(state: Literal["done", "failed"], job_id: str, attempts: int, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``conversations.jsonl`` or ``failures.jsonl``."""
    first = {"id": job_id} if state == "done" else {"id": job_id, "attempts": attempts}
    return {**first, **outcome}


def _line(value: Mapping[str, Any]) -> bytes:
    # surrogatepass would make invalid UTF-8: half a surrogate pair is written as its escape, which JSON reads back.
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def failure(error: Exception, metadata: Mapping[str, Any], last_response: str) -> dict[str, Any]:
    """What is recorded of a job that failed.

    ``error`` is the error's type, its words and its fields by name, or the traceback of one that is none of ours;
    ``last_response`` is the last thing the model said.
    """
    told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, TrioAgentError):
        told["fields"] = {name: value for name, value in vars(error).items() if _is_plain(value)}
        if isinstance(error, ModelError):
            told["fields"]["attempts"] = error.attempts
    else:
        told["traceback"] = "".join(traceback.format_exception(error))
    return {"error": told, "last_response": last_response, "metadata": dict(metadata)}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, str | int | float | bool | None)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small file whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of an output file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
