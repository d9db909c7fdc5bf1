"""The output files of a batch in its run directory, derived from the journal.

``conversations.jsonl`` and ``failures.jsonl`` are rebuilt from the journal when a run starts and grow by a row as
each job ends, after it is journaled. So they are complete and free of duplicates whenever the command has ended;
after a ``kill -9`` the last row may be missing or torn until the batch is started again.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from .._errors import DISK_FULL, FatalError, ModelError, SandboxError, TrioAgentError
from .._files import write_whole
from ._journal import BATCH, RESUMABLE
from ._reader import JournalReader

CONVERSATIONS = "conversations.jsonl"
FAILURES = "failures.jsonl"
REPORT = "report.json"
STATUS = "status.json"


class RunDirError(FatalError):
    """The disk refused a file of the run directory. Finished work is in the journal: run the batch again to resume.

    Attributes:
        path: the file.
        errno: the operating system's error number (``errno.ENOSPC`` for a full disk).
        detail: the operating system's message.
    """

    def __init__(self, path: str, errno: int, detail: str) -> None:
        super().__init__(path, errno, detail)
        self.path: str = path
        self.errno: int = errno
        self.detail: str = detail

    @property
    def disk_full(self) -> bool:
        """The disk, or a quota on it, is full: with room, the same run can be resumed."""
        return self.errno in DISK_FULL

    def __str__(self) -> str:
        return (
            f"could not write {self.path!r}: {self.detail}; make room or choose another run directory, and run it again"
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunDirError(str(path), error.errno or 0, error.strerror or str(error)) from error


@attrs.frozen(kw_only=True)
class OutputFiles:
    """The two outputs of a run.

    Attributes:
        holds: the kind of jobs, for people.
        done, failed: the files' names.
        mark: returns a key for an outcome of state "done"; only the first outcome with a key has a row. None: no
            deduplication.
    """

    holds: str = BATCH
    done: str = CONVERSATIONS
    failed: str = FAILURES
    mark: Callable[[Mapping[str, Any]], str] | None = None


BATCH_FILES = OutputFiles()
_to_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` would create one for each row


class Outputs:
    """The two files, open for appending. Synchronous; for use in worker threads.

    Args:
        retry_failed: jobs that had failed or got no reply are retried, so old rows may be out of date at the end.
    """

    def __init__(self, run_dir: Path, retry_failed: bool, files: OutputFiles) -> None:
        self._run_dir, self._names = run_dir, files
        self._marks: set[str] = set()
        self._lock = threading.Lock()  # around writes: a job's row, and rows that a full disk has refused
        # To be rewritten at the end: outdated failures; duplicates, of which the one begun first is kept.
        self._stale: set[Literal["done", "failed"]] = {"done", "failed"} if retry_failed else set()
        self._unwritten: dict[Literal["done", "failed"], bytearray] = {"done": bytearray(), "failed": bytearray()}
        self._files: dict[Literal["done", "failed"], Any] = {"done": self._rewritten("done")}
        try:
            self._files["failed"] = self._rewritten("failed")
        except BaseException:
            self._files["done"].close()
            raise

    def close(self) -> None:
        with ExitStack() as files:
            for state, file in self._files.items():
                files.enter_context(_writing(self._path(state)))
                files.callback(file.close)
                if self._unwritten[state]:  # it is journaled, and the next start writes it
                    files.callback(_cut_torn_row, file)
        self._marks.clear()
        for state in self._stale:
            self._rewritten(state).close()

    def add(self, state: Literal["done", "failed"], job_id: str, attempts: int, outcome: Mapping[str, Any]) -> None:
        """Append one row. If the disk refuses, `flush` retries the rows that are not written yet."""
        if not self._is_new(state, outcome):
            self._stale.add(state)
            return
        line = _line(row(state, job_id, attempts, outcome))
        with self._lock, _writing(self._path(state)):
            self._unwritten[state] += line
            self._flush(state)

    def expect_changes(self, state: Literal["done", "failed"]) -> None:
        """Some rows of *state* will be out of date: rewrite them at the end. For any thread."""
        self._stale.add(state)

    def flush(self) -> None:
        """Write the rows that the disk has refused before."""
        for state in self._files:
            with self._lock, _writing(self._path(state)):
                self._flush(state)

    def _flush(self, state: Literal["done", "failed"]) -> None:
        file, rest = self._files[state], self._unwritten[state]
        while rest:  # a nearly full disk accepts only a part
            del rest[: file.write(rest)]

    def _is_new(self, state: Literal["done", "failed"], outcome: Mapping[str, Any]) -> bool:
        if state == "failed" or self._names.mark is None:
            return True
        before = len(self._marks)
        self._marks.add(self._names.mark(outcome))
        return len(self._marks) > before

    def _rewritten(self, state: Literal["done", "failed"]) -> Any:
        path = self._path(state)
        temporary = path.with_name(f".{path.name}.tmp")
        with _writing(path):
            try:
                with open(temporary, "wb") as file, JournalReader(self._run_dir) as journal:
                    records = journal.outcomes(state)
                    file.writelines(_line(row(state, *record)) for record in records if self._is_new(state, record[2]))
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return open(path, "ab", buffering=0)

    def _path(self, state: Literal["done", "failed"]) -> Path:
        return self._run_dir / (self._names.done if state == "done" else self._names.failed)


@asynccontextmanager
async def open_outputs(run_dir: Path, retry_failed: bool, files: OutputFiles = BATCH_FILES) -> AsyncIterator[Outputs]:
    """The two files, derived from the journal, until the run has ended."""
    outputs = await trio.to_thread.run_sync(Outputs, run_dir, retry_failed, files)
    try:
        yield outputs
    finally:
        with trio.CancelScope(shield=True):  # bounded: local files
            await trio.to_thread.run_sync(outputs.close)


def row(state: Literal["done", "failed"], job_id: str, attempts: int, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``conversations.jsonl`` or ``failures.jsonl``."""
    first = {"id": job_id} if state == "done" else {"id": job_id, "attempts": attempts}
    return {**first, **outcome}


def _line(value: Mapping[str, Any]) -> bytes:
    # surrogatepass would write invalid UTF-8: a lone surrogate is written as its escape, which JSON restores.
    text = _to_json(value)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def _cut_torn_row(file: Any) -> None:
    """Truncate the incomplete row that a full disk has accepted."""
    with open(file.name, "rb") as reader:
        whole = 0
        for line in reader:
            whole += len(line) if line.endswith(b"\n") else 0
    os.truncate(file.fileno(), whole)


def failure(error: Exception, metadata: Mapping[str, Any], last_response: str) -> dict[str, Any]:
    """The record of a job that failed.

    ``error`` is the error's type, its text and its fields by name, or the traceback of one of a foreign class;
    ``last_response`` is the model's last text.
    """
    described: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, TrioAgentError):
        described["fields"] = {name: value for name, value in vars(error).items() if _is_plain(value)}
        if isinstance(error, ModelError):
            described["fields"]["attempts"] = error.attempts
    else:
        described["traceback"] = "".join(traceback.format_exception(error))
    resumable = {RESUMABLE: True} if _is_outside(error) else {}
    return {"error": described, "last_response": last_response, "metadata": dict(metadata), **resumable}


def _is_outside(error: Exception) -> bool:
    """Whether the cause was outside the job's conversation, with everything in it journaled."""
    return isinstance(error, ModelError | SandboxError)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, str | int | float | bool | None)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small file atomically."""
    with _writing(path):
        write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of an output file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
