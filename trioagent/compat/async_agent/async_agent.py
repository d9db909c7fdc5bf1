"""The documented asyncio `AsyncAgent`, and running many of them at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio

from ..._errors import InvalidInputError
from ..._events import AgentEvent
from .._facade import AgentFacade, conversation_folder, save, say_all
from .._interop import run_async
from .._stream import stream_in_loop
from ..schemas import AgentResponse

__all__ = ("AsyncAgent", "run_agents_concurrently")


class AsyncAgent(AgentFacade):
    """A memory agent for asyncio; any event loop may use it, one chat at a time.

    Args: see `AgentFacade`.
    """

    async def chat(self, message: str) -> AgentResponse:
        """Send *message* and wait for the reply.

        Raises:
            WrongContextError: no asyncio event loop is running here.
            TrioAgentError: see `trioagent.Agent.chat`.

        Cancelling (``task.cancel()``, ``asyncio.timeout``, a sibling's failure in a TaskGroup) stops the chat, and is
        raised when that has been cleaned up: the notes are as the last finished block left them, and no process or
        connection of the chat is left.
        """
        return await run_async(self.say, message, name="AsyncAgent.chat")

    def stream_chat(self, message: str) -> AbstractAsyncContextManager[AsyncIterator[AgentEvent]]:
        """Like `chat`, but yields events as they happen: ``async with agent.stream_chat(text) as events: ...``.

        See `trioagent.Agent.stream_chat`; leaving the block early, and cancelling, stop the chat.
        """
        return stream_in_loop(self, message, name="AsyncAgent.stream_chat")

    async def save_conversation(self, log: bool = False, save_folder: str | os.PathLike[str] | None = None) -> Path:
        """Write the conversation to ``convo_<uuid>.json`` and return its path, without blocking the event loop.

        Args:
            log: also print the path.
            save_folder: a folder below ``output/conversations``, or an absolute path.

        Raises:
            InvalidInputError: *save_folder* is not a path.
            OSError: the file cannot be written.
        """
        messages, folder = list(self.messages), conversation_folder(save_folder, below=True)

        async def save_off_the_loops() -> Path:
            return await trio.to_thread.run_sync(lambda: save(messages, folder, log=log))

        return await run_async(save_off_the_loops, name="AsyncAgent.save_conversation")


async def run_agents_concurrently(agents: Iterable[AgentFacade], messages: Iterable[str]) -> list[AgentResponse]:
    """Send ``messages[i]`` to ``agents[i]``, all at once, and wait for all replies, in order.

    Raises:
        InvalidInputError: (a ValueError) the lists differ in length or have invalid items; nothing was sent.
        AgentsFailedError: several chats failed at the same time, before the first failure could stop the others.
        TrioAgentError: the failure, if it was the only one. The other chats are cancelled, and their notes are as their
            last finished block left them.
    """
    if isinstance(messages, str):
        raise InvalidInputError("messages", f"must be a list of texts, not the text {messages!r:.100}")
    agents, messages = list(agents), list(messages)
    if len(agents) != len(messages):
        raise InvalidInputError("messages", f"{len(agents)} agents need as many messages, not {len(messages)}")
    for index, (agent, message) in enumerate(zip(agents, messages, strict=True)):
        if not isinstance(agent, AgentFacade):
            raise InvalidInputError(f"agents[{index}]", f"must be an AsyncAgent, not {agent!r:.100}")
        if not isinstance(message, str):
            raise InvalidInputError(f"messages[{index}]", f"must be text, not {message!r:.100}")
    return await run_async(say_all, agents, messages, name="run_agents_concurrently")
