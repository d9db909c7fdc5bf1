"""One message to an agent, from the terminal: shown as it happens, and rolled back as a whole by Ctrl-C."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager

import attrs
import trio

from .._errors import MemoryConflictError
from .._events import AgentEvent, Replied
from .._exceptions import open_helper_nursery
from .._messages import AgentResponse
from ..agent import Agent
from ..memory import UndoLog


@attrs.frozen
class Interrupted:
    """The message was interrupted, and the conversation is as it was before.

    Attributes:
        not_restored: notes that this message changed and that were *not* rolled back, because somebody else has
            changed one of them since.
        changed: the notes that somebody else has changed.
    """

    not_restored: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.not_restored:
            return "interrupted; the notes are as they were before this message"
        return (
            f"interrupted, but {', '.join(self.changed)} has been changed by someone else since; so what this message "
            f"changed is still there, in {', '.join(self.not_restored)}"
        )


OpenInterrupts = Callable[[], AbstractContextManager[AsyncIterator[int]]]


async def send_message(
    agent: Agent,
    message: str,
    show: Callable[[AgentEvent], None],
    *,
    open_interrupts: OpenInterrupts,
    undo: UndoLog | None = None,
) -> AgentResponse | Interrupted:
    """Send *message*, and pass every event to *show*.

    The first interrupt cancels the model request and the running code, and rolls back what this message has changed in
    the notes; further ones during the rollback have no effect.

    Args:
        open_interrupts: opens a stream of interrupts, see `Interrupts.open`.
        undo: collects what the message changes, for `Memory.roll_back`.

    Raises:
        TrioAgentError: see `trioagent.Agent.stream_chat`.
    """
    undo, messages = UndoLog() if undo is None else undo, agent.messages
    outcome: AgentResponse | Interrupted = Interrupted()

    async def send() -> None:
        nonlocal outcome
        async with agent.stream_chat(message, undo=undo) as events:
            async for event in events:
                show(event)
                if isinstance(event, Replied):
                    outcome = event.response

    async def roll_back() -> None:
        nonlocal outcome
        agent.messages = messages
        outcome = await _roll_back(agent, undo)

    await _run_interruptible(send, on_interrupt=roll_back, open_interrupts=open_interrupts)
    return outcome


async def _roll_back(agent: Agent, undo: UndoLog) -> Interrupted:
    if not undo:
        return Interrupted()
    try:
        await agent.memory.roll_back(undo, knowledge=agent.knowledge)
    except MemoryConflictError as conflict:
        return Interrupted(tuple(sorted(undo.versions())), conflict.paths)
    return Interrupted()


async def _run_interruptible(
    work: Callable[[], Awaitable[None]],
    *,
    on_interrupt: Callable[[], Awaitable[None]],
    open_interrupts: OpenInterrupts,
) -> None:
    """Run *work*; an interrupt before it has ended cancels it and runs *on_interrupt*, which cannot be cancelled.

    Raises:
        TrioAgentError: of *work* or *on_interrupt*, unwrapped and not in a group.
    """
    with open_interrupts() as interrupts:
        async with open_helper_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_on_interrupt, interrupts, scope)
                await work()
            if scope.cancelled_caught:
                await on_interrupt()


async def _cancel_on_interrupt(interrupts: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in interrupts:
        scope.cancel()
