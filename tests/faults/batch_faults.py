"""Disturb a whole batch, notes and outputs included: ``python -m tests.faults.batch_faults FOLDER STEP [FIRST]``.

One job of two messages, each answered with a block and a reply, in a process whose every operation on run directory
and memory can fail or be its last. It is disturbed at operation FIRST, FIRST + STEP, …, in every way, and then run
again in peace: the conversation and the notes must be what an undisturbed run leaves. A block appends to a note, so
one that ran twice shows. Prints JSON: operations and faults.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trioagent._config import BatchConfig, MemoryLimits, RateLimits, SandboxLimits
from trioagent._errors import MemoryPathError, MemoryStorageError
from trioagent._messages import ChatMessage
from trioagent.batch import CONVERSATIONS, FAILURES, Job, JournalError, RunDirError, read_rows, run_batch
from trioagent.memory import ChangeSet, SeenNotes, _fsops
from trioagent.models import Endpoints
from trioagent.runtime import Runtime
from trioagent.sandbox._sandbox import HostTool, Outcome, Sandbox
from trioagent.testing import ScriptedModel
from trioagent.tools import version_of

from .interposer import Ended, in_child, said_by

NOTE = "log.md"


class Appending:
    """A sandbox tier whose every block appends its code to a note; quick to start, unlike a confined one."""

    tier, zygotes = "kernel", 0

    async def aclose(self) -> None:
        pass

    def use_background(self, nursery: trio.Nursery) -> None:
        pass

    async def execute(
        self, code: str, *, root_fd: int | None, hide: bool, host_tools: Mapping[str, HostTool], rules: object = None
    ) -> Outcome:
        assert root_fd is not None
        await trio.lowlevel.checkpoint()
        before = _fsops.read(NOTE, root_fd) or b""
        changes = ChangeSet(writes={NOTE: before + code.encode() + b"\n"})
        seen = SeenNotes(reads={NOTE: version_of(before) if before else None})
        return Outcome(locals={"done": "True"}, changes=changes, seen=seen)


def answer(messages: Sequence[ChatMessage]) -> str:
    turn = sum(message.role == "assistant" for message in messages)
    if turn % 2:
        return f"<think>done</think><python></python><reply>That was turn {turn}.</reply>"
    return f"<think>go</think><python>turn({turn})</python>"


async def batch(folder: Path) -> None:
    runtime = Runtime(
        model=ScriptedModel(answer),
        sandbox=Sandbox(Appending(), SandboxLimits()),
        memory_limits=MemoryLimits(),
        sync_notes=False,
        rate=RateLimits(),
        endpoints=Endpoints(),
    )
    job = Job(id="job", memory=str(folder / "memory"), messages=("first", "second"))
    config = BatchConfig(retry_failed=True, outage_patience=0)
    report = await run_batch([job], runtime=runtime, run_dir=folder / "run", config=config)
    # One that finds the disk full from the start has begun nothing.
    assert report.stopped == "disk" or report.done + report.skipped + report.failed + report.left == 1


def work(folder: Path) -> None:
    """`batch`; of the errors that stop it all must be the run's own."""
    try:
        trio.run(batch, folder)
    except (JournalError, RunDirError) as error:
        raise JournalError(str(folder), str(error)) from None
    except BaseExceptionGroup as group:  # not except*, which older Pythons have raise a group again
        if group.split((JournalError, RunDirError))[1] is not None:
            raise
        raise JournalError(str(folder), str(group)) from None


def rows_of(path: Path) -> Iterable[Mapping[str, Any]]:
    """None of a run that found the disk full from the start: it has not made the file."""
    return read_rows(path) if path.exists() else ()


def outcome(folder: Path) -> Any:
    """What a run left."""
    rows = [(row["messages"], row["turns"]) for row in rows_of(folder / "run" / CONVERSATIONS)]
    failures = list(rows_of(folder / "run" / FAILURES))
    notes = {path.name: path.read_bytes() for path in (folder / "memory").rglob("*") if path.is_file()}
    return rows, failures, notes


def check(folder: Path, ended: Ended, expected: Any, seen: Counter[str]) -> None:
    if not ended.died and ended.value is not None:
        assert isinstance(ended.value, JournalError), said_by(ended)
        seen["refused"] += 1
    if not ended.died and ended.value is None:
        rows, failures, notes = outcome(folder)
        for row in failures:  # the memory's disk, not the run's: that is the one job's failure
            assert row["error"]["type"] in (MemoryStorageError.__name__, MemoryPathError.__name__), row
            seen["job failed"] += 1
        stopped = not rows and not failures  # the disk was full, and the run had no patience: the job stays open
        seen["stopped"] += stopped
        assert failures or stopped or (rows, notes) == (expected[0], expected[2])
    again = in_child(partial(work, folder), folder)
    assert again.value is None, said_by(again)
    rows, failures, notes = outcome(folder)
    assert not failures and len(rows) == 1
    if not seen["job failed"]:
        assert (rows, [], notes) == expected, (rows, notes, ended)
    seen["job failed before"] += seen.pop("job failed", 0)


def run(where: Path, stride: int, first: int) -> dict[str, Any]:
    gc.freeze()
    folder, seen = where / "batch", Counter[str]()
    folder.mkdir()
    quiet = in_child(partial(work, folder), folder)
    assert quiet.value is None, said_by(quiet)
    expected = outcome(folder)
    assert expected[2] == {NOTE: b"turn(0)\nturn(2)\n"} and expected[0][0][1] == 4 and not expected[1]
    seen["operations"] = quiet.seen
    for fault in quiet.every_fault():
        if (fault.at - first) % stride:
            continue
        shutil.rmtree(folder)
        folder.mkdir()
        ended = in_child(partial(work, folder), folder, fault)
        seen["faults"] += bool(ended.faults)
        seen["died"] += ended.died
        check(folder, ended, expected, seen)
    return dict(seen)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 1)))
