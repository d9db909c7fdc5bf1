"""What the synchronous and the asyncio agent share: arguments, and the `trioagent.Agent` that does the work."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from .. import nursery_runner
from .._config import AgentConfig, ModelConfig
from .._errors import InvalidInputError
from .._files import user_path, write_whole
from .._messages import AgentResponse
from .._prompt import SYSTEM_PROMPT
from ..agent import Agent
from ..memory import Knowledge
from ..models import Model
from ..nursery_runner import AgentsFailedError
from ..sandbox import Sandbox
from ._choice import choice_of, name_of
from ._runtimes import runtime_for
from .schemas import ChatMessage, Role
from .settings import MAX_TOOL_TURNS, MEMORY_FOLDER, MEMORY_PATH, SAVE_CONVERSATION_PATH

_log = logging.getLogger("trioagent")


class AgentFacade:
    """A model, a memory and the messages so far. Creating one opens no file and starts no thread.

    Args:
        max_tool_turns: how often in one chat the model may run code.
        memory_path: the folder of notes, below ``memory/`` in the folder that is current now. None for ``memory_dir``.
        use_vllm: ask the vLLM server (``VLLM_HOST``, ``VLLM_PORT``) for the model.
        model: its name (see `choice_of`), settings, or any object with the `Model` interface, which works in Trio;
            the environment decides if there is none.
        predetermined_memory_path: the memory may lie anywhere, not only below ``memory/``.

    Attributes:
        messages: a list that may be read, changed and replaced between chats; dicts with role and content may be in it.
        memory_path: absolute.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def __init__(
        self,
        max_tool_turns: int = MAX_TOOL_TURNS,
        memory_path: str | os.PathLike[str] | None = None,
        use_vllm: bool = False,
        model: str | ModelConfig | Model | None = None,
        predetermined_memory_path: bool = False,
    ) -> None:
        AgentConfig(max_tool_turns=max_tool_turns)  # checks it
        self.max_tool_turns = max_tool_turns
        self.memory_path: str = _memory_folder(memory_path, anywhere=predetermined_memory_path)
        self.use_vllm = use_vllm
        self._choice = choice_of(model, use_vllm=use_vllm)
        self.model: str = model if isinstance(model, str) else name_of(self._choice)
        self.messages: list[ChatMessage] = [ChatMessage(Role.SYSTEM, SYSTEM_PROMPT)]
        self._knowledge = Knowledge(blind_overwrite="allow")
        self._delegate: tuple[Sandbox, Agent] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(memory_path={self.memory_path!r}, model={self.model!r})"

    # What follows runs in Trio.

    async def say(self, message: str) -> AgentResponse:
        """One chat; see `trioagent.Agent.chat`."""
        agent = await self._agent()
        try:
            return await agent.chat(message)
        finally:
            self._take_messages(agent)

    async def _agent(self) -> Agent:
        """The `trioagent.Agent` that does the work; a new one in a new Trio run (after a fork or a shutdown)."""
        runtime = await runtime_for(self._choice)
        if self._delegate is None or self._delegate[0] is not runtime.sandbox:
            agent = Agent(runtime, memory_path=self.memory_path)
            agent.knowledge = self._knowledge
            self._delegate = runtime.sandbox, agent
        agent = self._delegate[1]
        if agent.config.max_tool_turns != self.max_tool_turns:
            agent.config = attrs.evolve(agent.config, max_tool_turns=self.max_tool_turns)
        if not isinstance(self.messages, list):  # users assign to it
            raise InvalidInputError("messages", f"must be a list, not {self.messages!r:.100}")
        agent.messages = [ChatMessage.of(message) for message in self.messages]
        return agent

    def _take_messages(self, agent: Agent) -> None:
        self.messages[:] = [ChatMessage.of(message) for message in agent.messages]


async def say_all(facades: Sequence[AgentFacade], messages: Sequence[str]) -> list[AgentResponse]:
    """`trioagent.run_agents` for facades; a single failure is raised without a group."""
    agents = [await facade._agent() for facade in facades]
    try:
        return await nursery_runner.run_agents(agents, messages)
    except AgentsFailedError as group:
        if len(group.failures) > 1:
            raise
        failure = group.failures[0].error
    finally:
        for facade, agent in zip(facades, agents, strict=True):
            facade._take_messages(agent)
    raise failure


def save(messages: Sequence[ChatMessage], save_folder: str | os.PathLike[str] | None, *, log: bool) -> Path:
    """Write a JSON list of roles and contents to ``convo_<uuid>.json``, whole or not at all.

    Raises:
        InvalidInputError: *save_folder* is no path.
        OSError: the file system refuses the file.
    """
    folder: Any = SAVE_CONVERSATION_PATH if save_folder is None else save_folder
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder) or "\0" in str(folder):
        raise InvalidInputError("save_folder", f"must be a folder's path, not {folder!r:.100}")
    path = user_path(folder, "save_folder") / f"convo_{uuid.uuid4()}.json"
    text = json.dumps([ChatMessage.of(message).model_dump() for message in messages], ensure_ascii=False, indent=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode("utf-8", "backslashreplace"), sync=True)
    if log:
        _log.info("conversation saved to %s", path)
    return path


def _memory_folder(memory_path: str | os.PathLike[str] | None, *, anywhere: bool) -> str:
    name: Any = MEMORY_PATH if memory_path is None else memory_path
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInputError("memory_path", f"must be a folder's name, not {name!r}")
    name = os.fspath(user_path(name, "memory_path"))
    base = os.path.abspath(MEMORY_FOLDER)
    path = os.path.abspath(os.path.join(base, name))
    if not anywhere and not path.startswith(base + os.sep):
        raise InvalidInputError(
            "memory_path",
            f"{name!r} does not lie below {base!r}, where memories are; for a folder elsewhere say "
            "predetermined_memory_path=True",
        )
    return path
