"""One message to an agent, from the terminal: shown as it goes, and taken back whole by Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import trio

from .._errors import MemoryConflictError, TrioAgentError
from .._events import AgentEvent, Replied
from .._messages import AgentResponse
from ..agent import Agent
from ..memory import UndoLog


@attrs.frozen
class Interrupted:
    """The message was interrupted, and the conversation is as it was before.

    Attributes:
        left: notes that are *not* as they were before, because somebody else has changed one of them meanwhile.
        changed: those that somebody else has changed.
    """

    left: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.left:
            return "interrupted; the notes are as they were before this message"
        return (
            f"interrupted, but {', '.join(self.changed)} has been changed by someone else since; so what this message "
            f"changed is still there, in {', '.join(self.left)}"
        )


async def send_message(agent: Agent, message: str, show: Callable[[AgentEvent], None]) -> AgentResponse | Interrupted:
    """Say *message*, and give every event to *show*.

    The first Ctrl-C cancels the model and the running code, and takes back what this message has changed in the notes;
    more of them, meanwhile, change nothing.
    """
    undo, messages = UndoLog(), agent.messages
    response: AgentResponse | Interrupted = Interrupted()

    async def say() -> None:
        nonlocal response
        async with agent.stream_chat(message, undo=undo) as events:
            async for event in events:
                show(event)
                if isinstance(event, Replied):
                    response = event.response

    async def take_back() -> None:
        nonlocal response
        agent.messages = messages
        response = await _roll_back(agent, undo)

    await _do_unless_interrupted(say, or_else=take_back)
    return response


async def _roll_back(agent: Agent, undo: UndoLog) -> Interrupted:
    if not undo:
        return Interrupted()
    try:
        await agent.memory.roll_back(undo, knowledge=agent.knowledge)
    except MemoryConflictError as conflict:
        return Interrupted(tuple(sorted(undo.versions())), conflict.paths)
    return Interrupted()


async def _do_unless_interrupted(
    work: Callable[[], Awaitable[None]], *, or_else: Callable[[], Awaitable[None]]
) -> None:
    """Do *work*; if Ctrl-C comes before it is over, cancel it and do *or_else*, which Ctrl-C cannot cancel.

    Raises:
        TrioAgentError: of *work* or *or_else*, as it is and not in a group.
    """
    failure: TrioAgentError | None = None
    scope = trio.CancelScope()
    try:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                with scope:
                    nursery.start_soon(_cancel_on_signal, signals, scope)
                    try:
                        await work()
                    except TrioAgentError as error:
                        failure = error
                if scope.cancelled_caught:
                    try:
                        await or_else()
                    except TrioAgentError as error:
                        failure = error
                nursery.cancel_scope.cancel()
    except KeyboardInterrupt:  # a Ctrl-C that nobody has read is delivered again when the receiver closes
        if not scope.cancelled_caught:
            raise
    if failure is not None:
        raise failure


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
