"""A conversation with an agent, journaled so that it can be killed at any instant and is resumed exactly once.

The order in every turn: the model's answer is journaled, then its block runs and commits its changes together
with a *receipt* (which event it is, and its result), then the result is journaled. So after a crash

- an answer that was journaled is not requested again;
- a block whose result was journaled is not run again;
- a block that committed but was not journaled has left its receipt in the memory: its result is read from there;
- a block that neither committed nor was journaled has changed nothing and runs again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs
import trio

from .._errors import MemoryPathError, MemoryStorageError
from .._events import AgentEvent, Answered, CodeResult
from .._json_steps import decode_in_thread
from .._messages import AgentResponse
from .._tracing import Interruption
from .._wire import read_value, strict_converter
from ..agent import Agent
from ..memory import ChangeSet, Knowledge, Memory, Receipt, SeenNotes, UndoLog, access_rules
from ..sandbox import BlockResult
from ..tools import version_of
from ._budget import Budget
from ._events import AnswerEvent, Event, ResultEvent, WorkEvent
from ._images import MOST_BYTES, images_of
from ._journal import JobRecord, Journal, JournalError
from ._spending import Spending

_converter = strict_converter()


@attrs.frozen(kw_only=True)
class BlockReceipt:
    """Left by a block in the memory with its changes: enough to continue as if it had been journaled."""

    event: int
    result: BlockResult
    read: Mapping[str, str | None] = attrs.field(factory=dict)
    written: Mapping[str, str | None] = attrs.field(factory=dict)
    changed: Sequence[str] = ()  # in receipts of 0.1, instead of the two above


class _Stopped(Interruption):
    """The run should end, and the episode has just journaled something: the next start resumes it here."""


async def run_episode(
    job: str,
    messages: Sequence[str],
    record: JobRecord,
    agent: Agent,
    *,
    journal: Journal,
    budget: Budget,
    is_stopping: Callable[[], bool],
) -> list[AgentResponse] | None:
    """Send *messages* to *agent*, resuming from *record*, which also notes what its blocks change.

    Returns:
        A response for each message; None if *is_stopping* came first.

    Args:
        job: the key of the job whose record it is.

    Cancellation, like every error, loses at most the answer or block in progress; finished ones are in the journal.
    """
    key = _receipt_key(job, record, journal)
    past, unjournaled = await _known(agent, key, record, journal)
    known, done, answers = iter(past), 0, 0
    responses: list[AgentResponse] = []
    notes, undo = _VersionLog(agent.knowledge), UndoLog(most_bytes=MOST_BYTES)
    record.changes.rules = access_rules(agent.memory.policy)
    contents: Mapping[str, bytes] = {}  # that the block which runs is about to write

    def receipt(result: BlockResult, changes: ChangeSet, seen: SeenNotes) -> Receipt:
        nonlocal contents
        contents = changes.writes
        notes.written = {path: version_of(data) for path, data in contents.items()}
        notes.written |= dict.fromkeys(changes.deletes)
        body = BlockReceipt(event=done, result=result, read=dict(seen.reads), written=notes.written)
        return Receipt(key, json.dumps(_converter.unstructure(body)).encode())

    async def journal_event(event: AgentEvent) -> None:
        nonlocal done, answers, contents
        if not isinstance(event, Answered | CodeResult):
            return
        answers += isinstance(event, Answered)
        journaled = record.events[done] if done < len(record.events) else unjournaled if done < len(past) else None
        written = None if journaled else contents
        if isinstance(event, Answered) and done >= len(past):
            new = budget.spend(event.usage)
        else:
            new = Spending()
        if done >= len(record.events):
            spending = new + budget.take_waste()
            with trio.CancelScope(shield=True):  # bounded: one local write; an answer was paid for
                journaled = journaled or _to_journal(event, notes, undo)
                await journal.add_event(record, done, journaled, spending)
        if isinstance(journaled, ResultEvent):
            record.changes.add(answers - 1, journaled, written)
            contents = {}
        done += 1
        if is_stopping() and done > len(record.events):
            raise _Stopped

    try:
        for message in messages:
            responses.append(await agent._drive(message, journal_event, past=known, receipt=receipt, undo=undo))
    except _Stopped:
        return None
    if any(response.blocks_saved for response in responses):
        await agent.memory.drop_receipt(key)
    await record.changes.read_rest(agent.memory.path)
    return responses


async def drop_receipt(memory: Memory, job: str, record: JobRecord, journal: Journal) -> None:
    """Remove the receipt that a failed job may have left in its memory. Creates no memory that does not exist.

    A memory that cannot be used is skipped: a receipt names the attempt it belongs to, so it cannot be mistaken.
    """
    try:
        if await trio.Path(memory.path).is_dir():
            await memory.drop_receipt(_receipt_key(job, record, journal))
    except (MemoryPathError, MemoryStorageError):
        pass


def _receipt_key(job: str, record: JobRecord, journal: Journal) -> str:
    return f"{journal.run_id}/{job}/{record.attempts}"


class _VersionLog:
    """The versions of notes that an episode's blocks have read and written, block by block.

    Attributes:
        written: versions of the notes that the running block is about to change.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._before = dict(knowledge.seen)
        self.written: dict[str, str | None] = {}

    def take(self, *, saved: bool) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Versions of notes that the block read, and of those that it wrote."""
        seen, before = self._knowledge.seen, self._before
        new = {path: version for path, version in seen.items() if path not in before or before[path] != version}
        written = {path: version for path, version in self.written.items() if saved}
        self._before, self.written = dict(seen), {}
        return {path: version for path, version in new.items() if path not in written}, written


async def _known(
    agent: Agent, key: str, record: JobRecord, journal: Journal
) -> tuple[list[Answered | CodeResult], ResultEvent | None]:
    """The known events of this episode; its agent gets the knowledge of the notes that it had then.

    Returns:
        The events, and the last of them in its form for the journal, if it is not journaled: from a receipt in the
        memory. The notes before that block are not known.
    """
    if not record.events:
        return [], None
    unjournaled = None
    path = str(journal.path)
    past = replay(record.events, agent.knowledge, path, key)
    payload = await agent.memory.read_receipt(key)
    if payload is not None:
        left = await trio.to_thread.run_sync(read_receipt_of, payload, path, key)
        if left.event == len(past):
            past.append(CodeResult(left.result))
            unjournaled = ResultEvent(result=left.result, read=left.read, written=left.written)
            learn(agent.knowledge, left.read, left.written)
            if left.changed:
                async with agent.memory.lease() as lease:  # the agent has seen its own writes
                    await lease.commit(ChangeSet(), knowledge=agent.knowledge, reads=left.changed)
    return past, unjournaled


def learn(knowledge: Knowledge, *versions: Mapping[str, str | None] | None) -> None:
    """Add what a block read and then wrote."""
    for seen in versions:
        for path, version in (seen or {}).items():
            knowledge.saw(path, version)


def replay(events: Sequence[Event], knowledge: Knowledge, path: str, key: str) -> list[Answered | CodeResult]:
    """Decode journaled events; *knowledge* becomes what the agent knew of the notes after the last of them.

    Raises:
        JournalError: they were not written by `run_episode` (naming *path* and *key*).
    """
    past: list[Answered | CodeResult] = []
    with _reading(path, key):
        for event in events:
            if isinstance(event, WorkEvent):
                raise ValueError("it has an event of another kind of run")
            past.append(event.replay())
            if isinstance(event, ResultEvent):
                learn(knowledge, event.read, event.written)
    return past


def read_receipt_of(payload: bytes, path: str, key: str) -> BlockReceipt:
    """Decode a block's receipt; raises as `replay`."""
    with _reading(path, key):
        return read_value(_converter, decode_in_thread(payload), BlockReceipt, "receipt")


@contextmanager
def _reading(path: str, key: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise JournalError(path, f"job {key!r} cannot be read back: {error}") from error


def _to_journal(event: Answered | CodeResult, notes: _VersionLog, undo: UndoLog) -> Event:
    if isinstance(event, Answered):
        return AnswerEvent(answer=event.answer, usage=event.usage, finish_reason=event.finish_reason)
    read, written = notes.take(saved=event.result.saved)
    return ResultEvent(result=event.result, read=read, written=written, images=images_of(undo) or None)
