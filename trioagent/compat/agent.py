"""The documented sync `Agent`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from .._events import AgentEvent
from ._facade import AgentFacade, conversation_folder, save
from ._interop import run_sync
from ._stream import stream_in_thread
from .schemas import AgentResponse

__all__ = ("Agent",)


class Agent(AgentFacade):
    """A memory agent for programs without an event loop; any thread may use it, one chat at a time.

    Args: see `AgentFacade`.
    """

    def chat(self, message: str) -> AgentResponse:
        """Send *message* and wait for the reply.

        Raises:
            WrongContextError: called in Trio, or in a process that gevent or eventlet has patched.
            TrioAgentError: see `trioagent.Agent.chat`.

        In a running event loop it blocks that loop, and a warning says so once; `AsyncAgent` does not, nor does
        ``await loop.run_in_executor(None, agent.chat, message)``. Ctrl-C and other exceptions from outside stop the
        chat, and are raised when that has been cleaned up: the notes are as the last finished block left them.
        """
        return run_sync(self.say, message, name="Agent.chat")

    def stream_chat(self, message: str) -> AbstractContextManager[Iterator[AgentEvent]]:
        """Like `chat`, but yields events as they happen: ``with agent.stream_chat(text) as events: ...``.

        See `trioagent.Agent.stream_chat`; leaving the block early stops the chat.
        """
        return stream_in_thread(self, message, name="Agent.stream_chat")

    def save_conversation(self, log: bool = False, save_folder: str | os.PathLike[str] | None = None) -> Path:
        """Write the conversation to ``convo_<uuid>.json`` and return its path.

        Args:
            log: also print the path.
            save_folder: replaces ``output/conversations``.

        Raises:
            InvalidInputError: *save_folder* is not a path.
            OSError: the file cannot be written.
        """
        return save(self.messages, conversation_folder(save_folder), log=log)
