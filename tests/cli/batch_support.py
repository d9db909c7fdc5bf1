"""Jobs, and a model that serves them: what it says depends on the conversation only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from trioagent.batch import CONVERSATIONS, FAILURES, read_rows
from trioagent.testing import Fault, ModelRequest, ModelServer, Wire

from .support import SECONDS, Ended, trioagent

# Appending is not idempotent: a block that runs twice shows.
BLOCK = (
    "<think>Note it.</think>\n<python>\nwith open('log.md', 'a') as file:\n    file.write('turn {turn}\\n')\n</python>"
)
REPLY = "<think>Done.</think>\n<python></python>\n<reply>That was turn {turn}.</reply>"
REQUESTS = 4
"""Requests of one job of `write_jobs`: for each of its two messages a block and a reply."""


@attrs.define
class Model:
    """Answers with a block and then a reply, again and again.

    Attributes:
        delay: seconds before each answer.
        fault: gives what to answer instead, if not None.
        hang_after: requests after which no more are answered.
        asked: how often each conversation was asked about.
    """

    delay: float = 0.0
    fault: Callable[[ModelRequest], Wire | None] = lambda request: None
    hang_after: float = float("inf")
    asked: Counter[str] = attrs.field(factory=Counter)
    _more: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, request: ModelRequest) -> str | Wire:
        self.asked[json.dumps(request.messages)] += 1
        self._more.set()
        self._more = trio.Event()
        if self.total > self.hang_after:
            return Fault.hang()
        await trio.sleep(self.delay)
        if (fault := self.fault(request)) is not None:
            return fault
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return (REPLY if turn % 2 else BLOCK).replace("{turn}", str(turn))

    @property
    def total(self) -> int:
        return self.asked.total()

    async def wait_asked(self, number: int) -> None:
        """Wait until so many requests have come."""
        with trio.fail_after(SECONDS):
            while self.total < number:
                await self._more.wait()


def write_jobs(home: Path, count: int, **more: Any) -> None:
    rows = [
        {"id": f"job-{number}", "memory": f"memories/{number}", "messages": [f"one {number}", "two"], **more}
        for number in range(count)
    ]
    (home / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def arguments(server: ModelServer, *more: str) -> list[str]:
    return ["batch", "jobs.jsonl", "--run-dir", "run", "--model", "any", "--base-url", server.base_url, *more]


async def batch(home: Path, server: ModelServer, *more: str, **options: Any) -> Ended:
    """Run the jobs of `write_jobs` to the command's end."""
    return await trioagent(*arguments(server, *more), home=home, **options)


def conversations(home: Path) -> dict[str, Any]:
    rows = list(read_rows(home / "run" / CONVERSATIONS))
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def failures(home: Path) -> dict[str, Any]:
    rows = list(read_rows(home / "run" / FAILURES))
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def outcome(home: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Conversations by job, and all notes; nothing else may lie in a memory."""
    memories = home / "memories"
    assert list(memories.rglob(".*")) == []
    notes = {str(path.relative_to(memories)): path.read_text() for path in memories.rglob("*.md")}
    return {job: row["messages"] for job, row in conversations(home).items()}, notes


def report(home: Path) -> dict[str, Any]:
    loaded = json.loads((home / "run" / "report.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def descendants(pid: int) -> dict[int, str]:
    """Live processes below *pid*: when each was started, by its own number."""
    parents, starts = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        number = int(path.parent.name)
        parents[number], starts[number] = int(rest[1]), rest[19]
    found: dict[int, str] = {}
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= {child: starts[child] for child in fresh}
    return found


async def wait_gone(processes: dict[int, str]) -> None:
    """Wait until none of these processes lives."""
    with trio.fail_after(SECONDS):
        while any(_start(pid) == start for pid, start in processes.items()):
            await trio.sleep(0.005)


def _start(pid: int) -> str:
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if rest[0] == "Z" else rest[19]


async def rest(process: trio.Process) -> tuple[int, str, str]:
    """Exit code and output, once the command has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    with trio.fail_after(SECONDS):
        out = b"".join([piece async for piece in process.stdout])
        err = b"".join([piece async for piece in process.stderr])
        return await process.wait(), out.decode(), err.decode()
