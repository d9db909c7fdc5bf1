"""The common part of the sync and the asyncio agent: arguments, and the `trioagent.Agent` that does the work."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from .. import nursery_runner
from .._config import AgentConfig, ModelConfig
from .._driver import Emit
from .._errors import AgentBusyError, InvalidInputError
from .._events import AgentEvent, Replied
from .._files import write_whole
from .._filter_rules import filter_of
from .._model_profile import profile_for
from .._prompt import system_prompt as effective_prompt
from .._prompt import with_host_tools
from ..agent import Agent
from ..memory import Knowledge
from ..models import Model
from ..nursery_runner import AgentsFailedError
from ..runtime import Runtime
from ..sandbox import Sandbox
from . import _configuration, settings, utils
from ._choice import choice_of, name_of
from ._folders import absolute, make_folder, memory_folder, path_text, real_folder
from ._host_tools import for_trio
from ._runtimes import current_sandbox, runtime_for
from .schemas import AgentResponse, ChatMessage, Role


class _DefaultTurns(int):
    """Marks that no number was given, so that the setting applies."""


DEFAULT_TURNS = _DefaultTurns(4)


class AgentFacade:
    """A model, a memory and the messages so far. Creating one creates the memory's folder, and starts no thread.

    Args:
        max_tool_turns: how often the model may run code in one chat; `settings.MAX_TOOL_TURNS` by default.
        memory_path: the folder of notes: an absolute path, or one relative to the memory root (``memory/`` in the
            current folder at this time, see `configure`). None for ``memory/memory_dir``.
        use_vllm: the model is served by the vLLM server (``VLLM_HOST``, ``VLLM_PORT``).
        model: its name (see `choice_of`), settings, or any object with the `Model` interface, which works in Trio; by
            default the environment decides.
        predetermined_memory_path: a relative path is below ``memory/`` whatever the memory root is, and may lead out
            of it.

    Attributes:
        messages: a list that may be read, changed and replaced between chats; its items may be dicts with role and
            content. It grows during a chat; the messages of a chat that fails before its first answer are removed.
        system_prompt: the text of the first message.
        memory_path: absolute.

    Raises:
        InvalidInputError: an argument or a setting is invalid.
    """

    def __init__(
        self,
        max_tool_turns: int = DEFAULT_TURNS,
        memory_path: str | os.PathLike[str] | None = None,
        use_vllm: bool = False,
        model: str | ModelConfig | Model | None = None,
        predetermined_memory_path: bool = False,
    ) -> None:
        turns = settings.MAX_TOOL_TURNS if max_tool_turns is DEFAULT_TURNS else max_tool_turns
        AgentConfig(max_tool_turns=turns)  # checks it
        config = _configuration.current()
        self.max_tool_turns = turns
        self.memory_path: str = memory_folder(memory_path, predetermined=predetermined_memory_path)
        self.use_vllm = use_vllm
        self._choice = choice_of(model, use_vllm=use_vllm, memory_path=self.memory_path)
        self.model: str = model if isinstance(model, str) else name_of(self._choice)
        prompt = effective_prompt(utils.load_system_prompt(profile_for(self.model)), policy=config.policy)
        self.system_prompt: str = with_host_tools(prompt, tuple(config.host_tools))
        self.messages: list[ChatMessage] = [ChatMessage(Role.SYSTEM, self.system_prompt)]
        self._knowledge = Knowledge(blind_overwrite=config.blind_overwrite)
        self._delegate: tuple[Sandbox, str, _FamilyAgent] | None = None
        make_folder(self.memory_path, "memory_path")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(memory_path={self.memory_path!r}, model={self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        """For pickling and copying: without connections, with copies of messages and knowledge."""
        knowledge = attrs.evolve(self._knowledge, seen=dict(self._knowledge.seen))
        messages: Any = self.messages  # users assign to it
        messages = list(messages) if isinstance(messages, list) else messages
        return {**vars(self), "messages": messages, "_knowledge": knowledge, "_delegate": None}

    def extract_response_parts(self, response: str) -> tuple[str, str, str]:
        """The thoughts, the reply and the code of a model's answer, each "" if there is none."""
        return utils.extract_thoughts(response), utils.extract_reply(response), utils.extract_python_code(response)

    def _add_message(self, message: ChatMessage | dict[str, str]) -> None:
        """Add a message to the conversation.

        Raises:
            InvalidInputError: (a ValueError) it is not a message.
        """
        self.messages.append(ChatMessage.of(message))

    # The methods below run in Trio.

    async def say(self, message: str) -> AgentResponse:
        """One chat; see `trioagent.Agent.chat`."""
        agent = await self._agent()
        return AgentResponse.of(await agent.chat(message))

    async def _agent(self) -> _FamilyAgent:
        """The `trioagent.Agent` that does the work; a new one in a new Trio run (after a fork or a shutdown)."""
        path = self.memory_path  # users assign to it
        if self._delegate is None or self._delegate[:2] != (current_sandbox(), path):
            runtime = await runtime_for(self._choice)
            place = real_folder(path, "memory_path")
            self._delegate = runtime.sandbox, path, _FamilyAgent(self, runtime, place)
        agent = self._delegate[2]
        if agent.config.max_tool_turns != self.max_tool_turns:
            agent.config = attrs.evolve(agent.config, max_tool_turns=self.max_tool_turns)
        return agent


class _FamilyAgent(Agent):
    """The agent behind a facade: it continues the facade's messages, and adds to them during its turn."""

    def __init__(self, facade: AgentFacade, runtime: Runtime, memory_path: str) -> None:
        config = _configuration.current()
        super().__init__(
            runtime,
            memory_path=memory_path,
            host_tools=for_trio(config.host_tools),
            review=config.review,
            policy=config.policy,
            chat_filter=config.chat_filter,
        )
        self.knowledge = facade._knowledge
        self._facade = facade

    def _check_message(self, message: str) -> None:
        if message != "":  # a valid message in the documented API
            super()._check_message(message)

    async def _drive(self, message: str, emit: Emit, *args: Any, **options: Any) -> AgentResponse:
        self._check_message(message)
        if self._turn is not None:
            raise AgentBusyError(str(self.memory_path))
        kept = self._facade.messages
        if not isinstance(kept, list):  # users assign to it
            raise InvalidInputError("messages", f"must be a list, not {kept!r:.100}")
        kept[:] = [ChatMessage.of(said) for said in kept]
        self.messages = [said.for_model() for said in kept]
        given = len(kept)
        if self.knowledge.seen and all(said.role == "system" for said in kept):
            # A new conversation, in which no note has been read.
            self.knowledge = self._facade._knowledge = attrs.evolve(self.knowledge, seen={})

        def grow() -> None:
            if self._turn is None:
                new = self.messages[len(kept) :]
            else:
                new = self._turn.messages[self._turn_start + len(kept) - given :]
            kept.extend(ChatMessage.of(one) for one in new)

        async def emit_and_grow(event: AgentEvent) -> None:
            grow()
            if isinstance(event, Replied):
                event = Replied(AgentResponse.of(event.response))
            await emit(event)

        kept.append(ChatMessage(Role.USER, message))
        rules = filter_of(message, options.get("chat_filter") or self._filter)
        if rules is not None:
            options["chat_filter"] = rules.chat_filter
        try:
            return AgentResponse.of(await super()._drive(message, emit_and_grow, *args, **options))
        finally:
            if self._turn is None:
                grow()
                del kept[max(given, len(self.messages)) :]


async def say_all(facades: Sequence[AgentFacade], messages: Sequence[str]) -> list[AgentResponse]:
    """`trioagent.run_agents` for facades; a single failure is raised unwrapped."""
    agents = [await facade._agent() for facade in facades]
    try:
        return [AgentResponse.of(response) for response in await nursery_runner.run_agents(agents, messages)]
    except AgentsFailedError as group:
        if len(group.failures) > 1:
            raise
        failure = group.failures[0].error
    raise failure


def save(messages: Iterable[ChatMessage], folder: Path, *, log: bool) -> Path:
    """Write a JSON list of roles and contents to ``convo_<uuid>.json`` in *folder*, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / f"convo_{uuid.uuid4()}.json"
    rows = [{"role": one.saved_role.value, "content": one.content} for one in map(ChatMessage.of, messages)]
    text = json.dumps(rows, ensure_ascii=False, indent=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode("utf-8", "backslashreplace"), sync=True)
    if log:
        sys.stdout.write(f"Conversation saved to {path}\n")
    return path


def conversation_folder(save_folder: str | os.PathLike[str] | None, *, below: bool = False) -> Path:
    """The folder in which a conversation is saved.

    Args:
        below: *save_folder* is relative to ``output/conversations``, unless it is absolute.

    Raises:
        InvalidInputError: *save_folder* is not a path; or the current folder has been deleted.
    """
    if save_folder is None:
        return absolute(settings.SAVE_CONVERSATION_PATH, "save_folder")
    folder = path_text(save_folder, "save_folder")
    return absolute(os.path.join(settings.SAVE_CONVERSATION_PATH, folder) if below else folder, "save_folder")
