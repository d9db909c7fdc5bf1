"""One attempt: a conversation of a persona model with a fresh agent, and the verdicts on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from .._config import SftConfig
from .._errors import EndpointHeldError, FatalError, MemoryStorageError, ModelCertificateError, ModelStatusError
from .._events import AgentEvent, Answered, CodeResult
from .._messages import ChatMessage, Usage
from .._runs import (
    MOST_BYTES,
    Budget,
    BudgetExhaustedError,
    ChangeLog,
    JobRecord,
    Journal,
    ResultEvent,
    Spending,
    WorkEvent,
    images_of,
)
from .._server_behaviour import CloseEndpoint, FailJob, action_of
from ..agent import Agent
from ..memory import UndoLog
from ..models import Model
from ..runtime import Runtime
from ._checks import check
from ._flows import notes_before
from ._judge import judge_conversation
from ._memories import fresh_memory, read_notes
from ._persona import Fact, Persona
from ._persona_models import Speaker
from ._transcript import Exchange, Transcript, Verdict

Who = Literal["agent", "persona", "judge"]
RAN = "ran"
"""The check that an attempt completed at all."""


class Ledger:
    """The usage of one persona's attempts, in the budget and in the journal.

    A kill loses only the message in progress: usage is recorded after each one.
    """

    def __init__(self, journal: Journal, budget: Budget, record: JobRecord) -> None:
        self._journal, self._budget, self._record = journal, budget, record
        self._events = len(record.events)
        self._new: Spending = Spending()
        self.used: dict[Who, Usage] = {}

    def add(self, who: Who, usage: Usage) -> None:
        """Count an answer in the budget.

        Raises:
            PriceUnknownError: a money budget is set and the answer's price is unknown.
        """
        if usage.total_tokens:
            self.used[who] = self.used.get(who, Usage()) + usage
            self._new += self._budget.spend(usage)

    async def record(self, body: Mapping[str, Any] | None = None) -> None:
        """Journal the usage since the last call, with *body*. Completes even if cancelled."""
        new, self._new = self._new + self._budget.take_waste(), Spending()
        if body is None and new == Spending():
            return
        with trio.CancelScope(shield=True):  # bounded: one local write of something that was paid for
            await self._journal.add_event(self._record, self._events, WorkEvent(body or {}), new)
        self._events += 1

    def take_used(self) -> dict[str, dict[str, Any]]:
        """The usage since the last call, by source."""
        used, self.used = self.used, {}
        return {who: attrs.asdict(usage) for who, usage in used.items()}


@attrs.frozen(kw_only=True)
class Attempt:
    """The result of an attempt.

    Attributes:
        conversation: None if it was interrupted.
        messages: the messages so far.
        persona_model: its name.
    """

    conversation: Transcript | None
    messages: tuple[ChatMessage, ...]
    verdicts: tuple[Verdict, ...]
    persona_model: str

    @property
    def accepted(self) -> bool:
        return self.conversation is not None and all(verdict.passed for verdict in self.verdicts)


@attrs.frozen(kw_only=True)
class AttemptSettings:
    """Settings that all attempts of a run share."""

    runtime: Runtime
    config: SftConfig
    model: Model
    judge: Model | None
    date: str = "none"


async def attempt(
    settings: AttemptSettings,
    persona: Persona,
    facts: tuple[Fact, ...],
    make_speaker: Callable[[], Awaitable[Speaker]],
    ledger: Ledger,
    changes: ChangeLog,
    memory: Path,
) -> Attempt:
    """Hold one conversation in a fresh memory at *memory*, and judge it. A failure of the conversation is a verdict.

    What its blocks change is noted in *changes*.

    Raises:
        BudgetExhaustedError, FatalError: the run should end.
        EndpointHeldError: a server is unavailable.
        ModelError: a refusal that no further attempt can change.
        MemoryStorageError: the disk is full.

    After cancellation, as after every error, no memory remains, and the usage is recorded.
    """
    agent = Agent(
        settings.runtime,
        memory_path=memory,
        max_tool_turns=settings.config.max_tool_turns,
        system_prompt=settings.config.system_prompt,
        system_prompt_append=settings.config.system_prompt_append,
        model_profile=settings.config.model_profile,
        date=settings.date,
        blind_overwrite="allow",  # as in the training of the models that these conversations imitate
        model=settings.model,
    )
    speaker: Speaker | None = None
    try:
        try:
            speaker = await make_speaker()
            conversation = await _hold(settings, persona, facts, speaker, ledger, agent, changes)
            verdicts = await trio.to_thread.run_sync(check, conversation)
            if settings.judge is not None and all(verdict.passed for verdict in verdicts):
                verdict, usage = await judge_conversation(settings.judge, conversation)
                ledger.add("judge", usage)
                verdicts.append(verdict)
        finally:
            if speaker is not None:
                ledger.add("persona", speaker.new_usage())
            await ledger.record()
    except (FatalError, BudgetExhaustedError):
        raise
    except Exception as error:
        if _is_none_of_the_attempt(error):
            raise
        conversation, verdicts = None, [Verdict(RAN, False, f"{type(error).__name__}: {error}")]
    return Attempt(
        conversation=conversation,
        messages=tuple(agent.messages),
        verdicts=tuple(verdicts),
        persona_model="" if speaker is None else speaker.name,
    )


def _is_none_of_the_attempt(error: Exception) -> bool:
    """Whether *error* is a server's, or a full disk's, and would affect every further attempt as well."""
    if isinstance(error, MemoryStorageError):
        return error.disk_full
    if isinstance(error, EndpointHeldError):
        return True
    if isinstance(error, ModelStatusError | ModelCertificateError):
        return isinstance(action_of(error), CloseEndpoint | FailJob)
    return False


async def _hold(
    settings: AttemptSettings,
    persona: Persona,
    facts: tuple[Fact, ...],
    speaker: Speaker,
    ledger: Ledger,
    agent: Agent,
    changes: ChangeLog,
) -> Transcript:
    before = await trio.to_thread.run_sync(notes_before, settings.config.flow, persona, facts)
    async with fresh_memory(agent.memory_path, before, settings.runtime.memory_limits) as path:
        _, broken = await trio.to_thread.run_sync(read_notes, path)
        exchanges = await _talk(agent, speaker, ledger, settings.config.num_turns, changes)
        await changes.read_rest(path)
        after, broken_now = await trio.to_thread.run_sync(read_notes, path)
    return Transcript(
        flow=settings.config.flow,
        persona=persona,
        facts=facts,
        messages=tuple(agent.messages),
        exchanges=tuple(exchanges),
        before=before,
        after=after,
        broken_links=tuple(link for link in broken_now if link not in broken),
    )


async def _talk(agent: Agent, speaker: Speaker, ledger: Ledger, num_turns: int, changes: ChangeLog) -> list[Exchange]:
    """The conversation, until the persona has nothing more to say, or gets no reply."""
    exchanges: list[Exchange] = []
    while len(exchanges) < num_turns:
        said = await speaker.say(exchanges[-1].reply if exchanges else None)
        if not said:
            break
        exchanges.append(await _exchange(agent, said, ledger, changes))
        ledger.add("persona", speaker.new_usage())
        await ledger.record()
        if exchanges[-1].stop_reason != "reply" or not exchanges[-1].reply.strip():
            break
    return exchanges


async def _exchange(agent: Agent, said: str, ledger: Ledger, changes: ChangeLog) -> Exchange:
    errors: list[str] = []
    undo = UndoLog(most_bytes=MOST_BYTES)
    answers = sum(message.role == "assistant" for message in agent.messages)

    async def note(event: AgentEvent) -> None:
        nonlocal answers
        match event:
            case Answered():
                ledger.add("agent", event.usage)
                answers += 1
            case CodeResult(result):
                errors.append(result.error)
                if undo.steps:
                    written = undo.steps[-1].after
                    changes.add(answers - 1, ResultEvent(result=result, written=written, images=images_of(undo)))

    response = await agent._drive(said, note, undo=undo)
    return Exchange(
        said=said,
        reply=response.reply,
        stop_reason=response.stop_reason,
        errors=tuple(errors),
        cut="cut_answer" in response.repairs,
    )
