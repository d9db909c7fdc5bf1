"""Workers that are lost at a chosen instant, and what a run over them has to come to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from trioagent.batch import BatchReport, Job, run_batch
from trioagent.cluster._errors import WorkerLostError
from trioagent.cluster._local import LocalWorkers
from trioagent.cluster._protocol import Handshake, Inbox, Outbox, WorkerSetup
from trioagent.cluster._remote import open_remote
from trioagent.cluster._workers import WorkerHandle
from trioagent.runtime import Runtime
from trioagent.testing import ModelRequest

REPLY = "<think>t</think><python></python><reply>Noted: {0}.</reply>"
# Run twice, or committed twice, it leaves two lines; it reads what it writes over.
APPEND = """<think>t</think><python>
done = create_file("log.md", (read_file("log.md") if check_if_file_exists("log.md") else "") + "- {0}\\n")
</python>"""

Moment = Literal["before", "after"]
"""Of an exchange: the worker is lost before it took the inbox, or when it had made its outbox."""
Fault = Callable[[int, Inbox | Outbox], bool]
"""Given the number of all exchanges so far, and what is on its way: is the worker lost with it?"""


def answer(request: ModelRequest) -> str:
    """A block that appends what the user said to a note, then a reply."""
    messages = request.messages
    said = [message["content"] for message in messages if message["role"] == "user"]
    # Results are the user's too, on the wire.
    if said[-1].startswith("<result>"):
        return REPLY.format(said[-2])
    return APPEND.format(said[-1])


def jobs(folder: Path, count: int = 3) -> list[Job]:
    """Two messages each; two of the jobs share a memory."""
    return [
        Job(id=f"job{n}", memory=str(folder / f"memory{max(1, n)}"), messages=(f"first {n}", f"second {n}"))
        for n in range(count)
    ]


@attrs.frozen
class Came:
    """What a run has come to: conversations by job, notes by path, and how often each request was sent."""

    conversations: dict[str, list[dict[str, str]]]
    notes: dict[str, list[str]]
    asked: Counter[str]


def what_came(folder: Path, requests: list[ModelRequest]) -> Came:
    rows = [json.loads(line) for line in (folder / "run" / "conversations.jsonl").read_text().splitlines()]
    notes = {str(path.relative_to(folder)): path.read_text().splitlines() for path in folder.glob("memory*/**/*.md")}
    # Two jobs write to one note, in whatever order.
    return Came(
        {row["id"]: row["messages"] for row in rows},
        {path: sorted(lines) for path, lines in notes.items()},
        Counter(json.dumps(request.messages) for request in requests),
    )


class FaultyWorkers:
    """Workers in this process, some of which are lost.

    Args:
        fault: whether a worker is lost with what is on its way.
        partition: it is not known to be gone: it just does not answer any more, and works on.
    """

    def __init__(self, inner: LocalWorkers, fault: Fault, moment: Moment, *, partition: bool = False) -> None:
        self.inner, self.fault, self.moment, self.partition = inner, fault, moment, partition
        self.exchanges = self.faults = 0
        self.kept_back: list[Outbox] = []
        self.killed: list[WorkerHandle] = []

    async def start(self, setup: WorkerSetup) -> WorkerHandle:
        return FaultyWorker(await self.inner.start(setup), self)


class FaultyWorker:
    def __init__(self, inner: WorkerHandle, source: FaultyWorkers) -> None:
        self._inner, self._source = inner, source

    @property
    def handshake(self) -> Handshake:
        return self._inner.handshake

    async def exchange(self, inbox: Inbox) -> Outbox:
        source = self._source
        source.exchanges += 1
        if source.moment == "before" and source.fault(source.exchanges, inbox):
            await self._lose()
        outbox = await self._inner.exchange(inbox)
        if source.moment == "after" and source.fault(source.exchanges, outbox):
            source.kept_back.append(outbox)
            await self._lose()
        return outbox

    async def _lose(self) -> None:
        self._source.faults += 1
        if self._source.partition:
            await trio.sleep_forever()
        await self._inner.kill()
        raise WorkerLostError("it was killed")

    def nudge(self) -> None:
        self._inner.nudge()

    async def stop(self) -> None:
        if self._source.partition and self._source.kept_back:
            await trio.sleep_forever()
        await self._inner.stop()

    async def kill(self) -> None:
        self._source.killed.append(self._inner)
        await self._inner.kill()


@asynccontextmanager
async def on_faulty_workers(
    runtime: Runtime, fault: Fault, moment: Moment, *, partition: bool = False, silence: float = 10.0
) -> AsyncIterator[tuple[Runtime, FaultyWorkers]]:
    async with trio.open_nursery() as nursery:
        source = FaultyWorkers(LocalWorkers(nursery), fault, moment, partition=partition)
        async with open_remote(runtime, source, workers=2, lesser_tiers=False, silence=silence) as moved:
            yield moved, source
        nursery.cancel_scope.cancel()


async def run_jobs(runtime: Runtime, folder: Path, count: int = 3) -> BatchReport:
    return await run_batch(jobs(folder, count), runtime=runtime, run_dir=folder / "run")
