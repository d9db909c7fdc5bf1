"""The documented sync `Agent`."""

from __future__ import annotations

import os
from pathlib import Path

from ._facade import AgentFacade, conversation_folder, save
from ._interop import run_sync
from .schemas import AgentResponse


class Agent(AgentFacade):
    """A memory agent for programs without an event loop; any thread may use it, one chat at a time.

    Args: see `AgentFacade`.
    """

    def chat(self, message: str) -> AgentResponse:
        """Say *message* and wait for the reply.

        Raises:
            WrongContextError: called in a running event loop. ``await loop.run_in_executor(None, agent.chat, message)``
                works, and so does `AsyncAgent`.
            TrioAgentError: see `trioagent.Agent.chat`.

        Ctrl-C stops the chat and is raised once that is cleaned up: the notes are as the last finished block left them.
        """
        return run_sync(self.say, message, name="Agent.chat")

    def save_conversation(self, log: bool = False, save_folder: str | os.PathLike[str] | None = None) -> Path:
        """Write the conversation to ``convo_<uuid>.json`` and return its path.

        Args:
            log: also print where it is.
            save_folder: in place of ``output/conversations``.

        Raises:
            InvalidInputError: *save_folder* is no path.
            OSError: the file system refuses the file.
        """
        return save(self.messages, conversation_folder(save_folder), log=log)
