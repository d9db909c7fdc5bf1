"""One job's conversation, journaled so that it can be killed at any instant and goes on exactly once.

Order of things, for every turn: the model's answer is journaled, then its block runs and commits its changes together
with a *receipt* (which event it is, and its result), then the result is journaled. So after a crash

- an answer that was journaled is not asked for again;
- a block whose result was journaled is not run again;
- a block that committed but was not journaled has left its receipt in the memory: the result is taken from there;
- a block that neither committed nor was journaled has changed nothing and runs again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import cattrs
import trio
from cattrs.preconf.json import make_converter

from .._errors import MemoryPathError, MemoryStorageError
from .._events import Answered, CodeResult, Replied
from .._messages import AgentResponse, Usage
from .._reply_parser import parse_reply
from ..agent import Agent
from ..memory import ChangeSet, Knowledge, Receipt
from ..sandbox import BlockResult
from ._budget import Budget
from ._jobs import Job
from ._journal import JobRecord, Journal, JournalError

_converter = make_converter(forbid_extra_keys=True)


@attrs.frozen(kw_only=True)
class _Receipt:
    """What a block leaves in the memory with its changes: enough to go on as if it had been journaled."""

    event: int
    result: BlockResult
    changed: list[str]


async def run_episode(
    job: Job, record: JobRecord, agent: Agent, *, journal: Journal, budget: Budget, stop: trio.Event
) -> dict[str, Any] | None:
    """Run *job* from where *record* left it; returns the outcome to journal, or None if *stop* came first.

    Cancelling, like every error, loses at most the answer or block that is under way; a finished one is in the journal.
    """
    key = _receipt_key(job, record, journal)
    past, knowledge = await _known(agent, key, record, journal)
    if knowledge is not None:
        agent.knowledge = knowledge
    known, done = iter(past), 0
    responses: list[AgentResponse] = []

    def receipt(result: BlockResult, changes: ChangeSet) -> Receipt:
        changed = sorted({*changes.writes, *changes.deletes})
        body = _Receipt(event=done, result=result, changed=changed)
        return Receipt(key, json.dumps(_converter.unstructure(body)).encode())

    for message in job.messages:
        async with agent.stream_chat(message, past=known, receipt=receipt) as events:
            async for event in events:
                spending = budget.spend(event.usage) if isinstance(event, Answered) and done >= len(past) else None
                if isinstance(event, Answered | CodeResult):
                    if done >= len(record.events):
                        with trio.CancelScope(shield=True):  # bounded: one local write; an answer was paid for
                            await journal.add_event(record.seq, done, _encode(event, agent.knowledge), spending)
                    done += 1
                    if stop.is_set() and done > len(record.events):
                        return None
                elif isinstance(event, Replied):
                    responses.append(event.response)
    if any(response.blocks_saved for response in responses):
        await agent.memory.drop_receipt(key)
    return _outcome(job, agent, responses)


async def drop_receipt(job: Job, record: JobRecord, agent: Agent, journal: Journal) -> None:
    """Forget what a job that failed may have left in its memory for going on. Makes no memory that is not there.

    A memory that cannot be used is left alone: a receipt names the attempt it belongs to, so that it misleads nobody.
    """
    if not await trio.Path(agent.memory_path).is_dir():
        return
    try:
        await agent.memory.drop_receipt(_receipt_key(job, record, journal))
    except (MemoryPathError, MemoryStorageError):
        pass


def _receipt_key(job: Job, record: JobRecord, journal: Journal) -> str:
    return f"{journal.run_id}/{job.id}/{record.attempts}"


def _outcome(job: Job, agent: Agent, responses: Sequence[AgentResponse]) -> dict[str, Any]:
    usage = sum((response.usage for response in responses), Usage())
    return {
        "messages": [attrs.asdict(message) for message in agent.messages],
        "usage": attrs.asdict(usage),
        "turns": sum(response.turns for response in responses),
        "stop_reasons": [response.stop_reason for response in responses],
        "tier": next((response.tier for response in responses if response.tier), ""),
        "metadata": dict(job.metadata),
    }


async def _known(
    agent: Agent, key: str, record: JobRecord, journal: Journal
) -> tuple[list[Answered | CodeResult], Knowledge | None]:
    """What is already known of this episode, and what its agent knew of the notes then."""
    if not record.events:
        return [], None
    try:
        past = [_decode(body) for body in record.events]
        states = [body["knowledge"] for body in record.events if "knowledge" in body]
        knowledge = Knowledge.from_json(states[-1]) if states else None
        payload = await agent.memory.read_receipt(key)
        if payload is not None:
            left = _converter.structure(json.loads(payload), _Receipt)
            if left.event == len(past):
                past.append(CodeResult(left.result))
                knowledge = knowledge or Knowledge()
                async with agent.memory.lease() as lease:  # the agent has seen what it wrote itself
                    await lease.commit(ChangeSet(), knowledge=knowledge, reads=left.changed)
    except (cattrs.BaseValidationError, ValueError, KeyError, TypeError) as error:
        raise JournalError(str(journal.path), f"job {key!r} cannot be read back: {error}") from error
    return past, knowledge


def _encode(event: Answered | CodeResult, knowledge: Knowledge) -> dict[str, Any]:
    if isinstance(event, Answered):
        answer = event.answer
        return {"text": answer.text, "repairs": dict(answer.repairs), "usage": _converter.unstructure(event.usage)}
    return {"result": _converter.unstructure(event.result), "knowledge": knowledge.to_json()}


def _decode(body: Mapping[str, Any]) -> Answered | CodeResult:
    if "result" in body:
        return CodeResult(_converter.structure(body["result"], BlockResult))
    answer = attrs.evolve(parse_reply(body["text"]), repairs=dict(body["repairs"]))
    return Answered(answer, _converter.structure(body["usage"], Usage))


def usage_of(events: Sequence[Mapping[str, Any]]) -> Iterator[Usage]:
    """What the answers among journaled *events* used: a resumed run has spent that already."""
    for body in events:
        if "usage" in body:
            yield _converter.structure(body["usage"], Usage)
