"""`Agent`: one model, one memory, one conversation."""

from __future__ import annotations

import json
import keyword
import logging
import os
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta, timezone
from functools import cached_property, lru_cache, partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from . import _span_names as names
from ._activity import doing
from ._chat_filter import ChatFilter, FilteredChat
from ._config import AgentConfig, ModelConfig
from ._context import room_for_messages
from ._driver import Emit, PastEvent, Show, drive_turn
from ._errors import AgentBusyError, InvalidInputError, TrioAgentError
from ._event_stream import open_event_stream
from ._events import AgentEvent, Replied
from ._files import user_path, write_whole
from ._messages import AgentResponse, ChatMessage
from ._model_profile import ModelProfile, profile_for
from ._parsed_reply import Delta
from ._prompt import date_and_zone, said_date, with_date, with_host_tools
from ._prompt import system_prompt as effective_prompt
from ._tracing import (
    SPAN,
    ActiveSpan,
    Value,
    answer_json,
    block_error_type,
    messages_json,
    start_part,
    start_span,
    texts_json,
)
from ._turn import Turn
from .memory import (
    ChangeSet,
    CommitOrigin,
    HistorySetting,
    Knowledge,
    Memory,
    Receipt,
    SeenNotes,
    UndoLog,
    VaultPolicy,
    access_rules,
)
from .models import Model, Retrying
from .runtime import Runtime
from .sandbox import BlockResult, HostTool, Reviewer
from .tools import NAMES as TOOL_NAMES

_log = logging.getLogger("trioagent")

_BLOCK_SPAN = f"{names.EXECUTE_TOOL} {names.PYTHON}"
_BLOCK: Mapping[str, Value] = {
    names.OPERATION: names.EXECUTE_TOOL,
    names.TOOL_NAME: names.PYTHON,
    names.TOOL_TYPE: names.FUNCTION,
}


async def _emit_nothing(event: AgentEvent) -> None:
    pass


def _show_nothing(event: Delta | Retrying) -> None:
    pass


_DEFAULT_CONFIG = AgentConfig()
_DEFAULT_POLICY = VaultPolicy()


class Agent:
    """A conversation with a model that keeps its own notes.

    Args:
        runtime: what agents share, from `open_runtime`.
        memory_path: the folder of notes; created at first use. Many agents, in many processes, may use one.
        max_tool_turns, system_prompt, system_prompt_append, message_chars, blind_overwrite, model_profile, date: see
            `AgentConfig`, whose defaults these are.
        policy: what blocks may read and change in the notes; by default all notes and attachments. Part of the prompt.
        host_tools: async functions that blocks may call by these names, with JSON values. They run in the
            caller's own scope; cancelling the chat cancels them.
        model: instead of the runtime's.
        chat_filter: what may be read in its chats and what may not leave them, for chats that have no filter of their
            own.
        review: an async function that is called with a `ReviewRequest` after a block ran and before anything is saved,
            and returns `AcceptChanges`, `RejectChanges` or `EditChanges`. The notes are not locked meanwhile; if
            somebody else changes one of them, nothing is saved and the model is told.
        history: keep the commits of blocks, see `Memory`; by default the runtime's setting.
        origin: the author of the conversation, for the history. By default the author is the model, and the chat has an
            id of its own, `chat_id`.

    Raises:
        InvalidInputError: a setting or a host tool's name cannot be used.

    Attributes:
        undated_prompt: the system prompt without the date at its end; the prompt hash in the rows of runs is taken of
            it.

    An idle agent holds no task, file or connection. One chat at a time: a second one raises `AgentBusyError`.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        memory_path: str | os.PathLike[str],
        max_tool_turns: int | None = None,
        system_prompt: str | None = None,
        system_prompt_append: str | None = None,
        message_chars: int | None = None,
        blind_overwrite: Literal["refuse", "allow"] | None = None,
        model_profile: str | None = None,
        date: str | None = None,
        policy: VaultPolicy | None = None,
        host_tools: Mapping[str, HostTool] | None = None,
        model: Model | None = None,
        review: Reviewer | None = None,
        history: HistorySetting | None = None,
        origin: CommitOrigin | None = None,
        chat_filter: ChatFilter | None = None,
    ) -> None:
        given = {
            "max_tool_turns": max_tool_turns,
            "system_prompt": system_prompt,
            "system_prompt_append": system_prompt_append,
            "message_chars": message_chars,
            "blind_overwrite": blind_overwrite,
            "model_profile": model_profile,
            "date": date,
        }
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.config: AgentConfig = AgentConfig(**settings) if settings else _DEFAULT_CONFIG
        self.memory: Memory = Memory(
            memory_path,
            limits=runtime.memory_limits,
            sync=runtime.sync_notes,
            policy=_DEFAULT_POLICY if policy is None else policy,
            history=(runtime.history or False) if history is None else history,
        )
        self.knowledge: Knowledge = Knowledge(blind_overwrite=self.config.blind_overwrite)
        self._runtime = runtime
        self._model = runtime.model if model is None else model
        self._host_tools = dict(host_tools or {})
        for name, tool in self._host_tools.items():
            check_host_tool(name, tool)
        self.profile: ModelProfile = profile_for(self._model.name, self.config.model_profile)
        self.undated_prompt: str = _prompt_of(
            self.config.system_prompt,
            self.config.system_prompt_append,
            self.memory.policy,
            self.profile,
            tuple(self._host_tools),
        )
        date = said_date(
            self.config.date,
            is_own_prompt=self.config.system_prompt is not None,
            today=_today(),
        )
        self.messages: list[ChatMessage] = [_system_message(self.undated_prompt, date)]
        self._review = review
        self._given_origin = origin
        self._filter = chat_filter
        self._under: dict[str, ChatFilter] = {}  # texts of messages that were made under a filter
        self._turn: Turn | None = None  # the running one
        self._turn_start = 0  # how many of its messages existed before
        self._tier = ""

    @property
    def chat_id(self) -> str:
        """The id of this conversation in the history, as in `Memory.undo`."""
        return self._origin.chat

    @cached_property
    def _origin(self) -> CommitOrigin:
        own = CommitOrigin(author=self._model.name, chat=uuid.uuid4().hex[:12])
        return own if self._given_origin is None else _with_defaults(self._given_origin, own)

    @property
    def memory_path(self) -> Path:
        return self.memory.path

    async def chat(self, message: str, *, chat_filter: ChatFilter | None = None) -> AgentResponse:
        """Send *message* and wait for the reply; the code that the model writes runs meanwhile.

        Args:
            chat_filter: what may be read in this chat, and what may not leave it; instead of the agent's own.

        Raises:
            InvalidInputError: the message is empty, too long, or contains a NUL or a lone surrogate.
            AgentBusyError: another chat with this agent is running.
            ModelError: the model gave no usable answer, after all retries that made sense.
            MemoryPathError, MemoryStorageError: the notes cannot be used, or the disk refuses.
            MemoryDeadlockError: called in a host tool of a block that holds the same notes.
            WithheldError: it failed with an error text that its filter withholds.
            SandboxError: the sandbox itself broke.

        After cancellation, as after every error, the notes are as the last finished block left them, and `messages` has
        every finished model answer; if there was none, the user's message is removed too.
        """
        return await self._drive(message, _emit_nothing, chat_filter=chat_filter)

    def stream_chat(
        self, message: str, *, undo: UndoLog | None = None, chat_filter: ChatFilter | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[AgentEvent]]:
        """Like `chat`, yielding events as they happen (see `AgentEvent`); the last event is `Replied`.

        The turn advances only while you ask for the next event: code runs, and the model is asked again, only after you
        have seen the previous event and asked for the next. Only the rest of an answer that has begun is read ahead.
        Leaving the block stops the turn: the model's stream is closed, and the notes are as the last finished block
        left them. Only one task may read at a time.

        The turn runs in a task of its own, so your code runs inside no cancel scope of a `Model`. Your own exception
        is raised from the block unwrapped. Another chat may begin when you have seen `Replied`.

        Args:
            undo: collects what is needed to undo all of this chat's changes (see `Memory.roll_back`).
            chat_filter: as in `chat`. The deltas of an answer are delivered when it is complete, so that a withheld
                text cannot leave in parts.
        """
        return open_event_stream(partial(self._drive, message, undo=undo, chat_filter=chat_filter))

    async def save_conversation(
        self, log: bool | None = None, *, save_folder: str | os.PathLike[str] = "output/conversations"
    ) -> Path:
        """Write the conversation as JSON to ``convo_<uuid>.json`` and return its path.

        It contains the messages, and the sandbox tier that ran the blocks ("" if none ran). The file is written
        atomically. A started write completes even if cancelled.

        Args:
            log: deprecated, to be removed in 0.3: log the path that is returned.
        """
        if log is not None:
            warnings.warn(
                "save_conversation(log=...) is deprecated; log the path it returns", DeprecationWarning, stacklevel=2
            )
        path = user_path(save_folder, "save_folder") / f"convo_{uuid.uuid4()}.json"
        body = {"messages": [attrs.asdict(message) for message in self.messages], "tier": self._tier}
        text = json.dumps(body, ensure_ascii=False, indent=2)
        await trio.to_thread.run_sync(_save, path, text.encode("utf-8", "backslashreplace"))
        if log:
            _log.info("conversation saved to %s", path)
        return path

    async def _drive(
        self,
        message: str,
        emit: Emit,
        show: Show = _show_nothing,
        *,
        undo: UndoLog | None = None,
        past: Iterable[PastEvent] = (),
        receipt: Callable[[BlockResult, ChangeSet, SeenNotes], Receipt] | None = None,
        chat_filter: ChatFilter | None = None,
    ) -> AgentResponse:
        """Run one turn, pushing its events; the last one to *emit* is `Replied`. See `drive_turn`.

        Args:
            receipt: makes the receipt of each block from its result, its changes and what it read; it is committed
                with them (see `Memory.read_receipt`).
        """
        self._check_message(message)
        if self._turn is not None:
            raise AgentBusyError(str(self.memory_path))
        chat_filter = self._filter if chat_filter is None else chat_filter
        # Not `with`: entering a null context would cost more than this condition, at every chat.
        traced = self._runtime.tracing is not None or SPAN.get() is not None
        scope = self._start_span(chat_filter) if traced else None
        span = None if scope is None else scope.__enter__()
        turn = self._begin(self.messages, message)
        try:
            if chat_filter is None:
                response = await self._run_turn(turn, emit, show, undo=undo, past=past, receipt=receipt, said=message)
            else:
                response = await self._run_filtered(
                    message, chat_filter, emit, show, undo=undo, past=past, receipt=receipt
                )
            if span is not None:
                _record_chat(span, message, response)
        except BaseException as error:
            if scope is not None:
                scope.__exit__(None, error, None)
            raise
        else:
            if scope is not None:
                scope.__exit__(None, None, None)
        finally:
            self._turn = None
            if turn.answers:
                self.messages = turn.messages
        # The conversation is complete before the reply is emitted, so that the reader may start the next chat.
        await emit(Replied(response))
        return response

    def _start_span(self, chat_filter: ChatFilter | None) -> AbstractContextManager[ActiveSpan | None]:
        """The chat's span, to be entered. What a filter withholds is not recorded either."""
        tracing = self._runtime.tracing
        if tracing is None:
            return start_span(None, names.INVOKE_AGENT, {})
        attributes: dict[str, Value] = {
            names.OPERATION: names.INVOKE_AGENT,
            names.CONVERSATION: self.chat_id,
            names.REQUEST_MODEL: self._model.name,
        }
        if self._origin.job:
            attributes[names.JOB_ID] = self._origin.job
        if tracing.content and chat_filter is None:
            attributes[names.MEMORY] = self.memory_path.name
        return start_span(tracing, names.INVOKE_AGENT, attributes, content=chat_filter is None)

    async def _run_filtered(
        self, message: str, chat_filter: ChatFilter, emit: Emit, show: Show, **options: Any
    ) -> AgentResponse:
        chat = FilteredChat(chat_filter, str(self.memory_path), access_rules(self.memory.policy), emit=emit, show=show)
        earlier, instead = self.messages, None
        history = await trio.to_thread.run_sync(chat.history, earlier, dict(self._under))
        turn = self._begin(history, chat.message(message))
        try:
            response = await self._run_turn(
                turn, partial(chat.emit, turn=turn), chat.show, chat=chat, said=message, **options
            )
            return await chat.response(response)
        except TrioAgentError as error:
            instead = chat.error(error)
            if instead is error:
                raise
        finally:
            if turn.answers:
                chat.settle(turn)
                new = [ChatMessage("user", message), *turn.messages[len(history) + 1 :]]
                self.messages = [*earlier, *new]
                self._under |= dict.fromkeys((each.content for each in new), chat_filter)
        raise instead  # here, so that the original error is not its context either

    def _begin(self, history: Sequence[ChatMessage], message: str) -> Turn:
        messages = [*history, ChatMessage("user", message)]
        self._turn = Turn(
            messages, max_tool_turns=self.config.max_tool_turns, profile=self.profile, room=_room_of(self._model)
        )
        self._turn_start = len(history)
        return self._turn

    async def _run_turn(
        self,
        turn: Turn,
        emit: Emit,
        show: Show,
        *,
        undo: UndoLog | None,
        past: Iterable[PastEvent],
        receipt: Callable[[BlockResult, ChangeSet, SeenNotes], Receipt] | None,
        said: str,
        chat: FilteredChat | None = None,
    ) -> AgentResponse:
        async def run_block(code: str) -> BlockResult:
            number = 1 + [each.role for each in self.messages].count("user")
            with start_part(_BLOCK_SPAN, _BLOCK) as span, doing("sandbox"):
                result = await self._runtime.sandbox.run(
                    code,
                    memory=self.memory,
                    knowledge=self.knowledge,
                    host_tools=self._host_tools,
                    undo=undo,
                    receipt=receipt,
                    review=self._review,
                    origin=attrs.evolve(self._origin, turn=number, said=said),
                    readable=("**",) if chat is None else chat.readable,
                    observe=None if chat is None else chat.crossed,
                )
                if span is not None:
                    _record_block(span, code, result)
            if result.saved and self.memory.history is not None:
                self._runtime.history_updater.note_commit(str(self.memory_path), self.memory.update_history)
            self._tier = result.tier
            return result if chat is None else await chat.result(result)

        response = await drive_turn(
            turn,
            model=self._model,
            run_block=run_block,
            emit=emit,
            show=show,
            past=iter(past),
            thought_styles=self._runtime.thought_styles,
        )
        self._tier = response.tier or self._tier
        return response

    def _check_message(self, message: str) -> None:
        if not isinstance(message, str):
            raise InvalidInputError("message", f"must be text, not {type(message).__name__}")
        if not message.strip():
            raise InvalidInputError("message", f"is empty: {message[:20]!r}; say something")
        if len(message) > self.config.message_chars:
            raise InvalidInputError(
                "message",
                f"has {len(message):,} characters, and message_chars allows {self.config.message_chars:,}; "
                "put long texts into a note instead",
            )
        if "\0" in message:
            raise InvalidInputError("message", f"holds a NUL at position {message.index(chr(0))}; remove it")
        try:
            message.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError("message", f"is not valid Unicode at position {error.start}; remove it") from error


def _room_of(model: Model) -> int | None:
    """How many tokens of messages *model* accepts, if it has settings that limit them."""
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig) or config.context_tokens is None:
        return None
    return room_for_messages(config.context_tokens, config.max_tokens)


def _today() -> str:
    now = time.localtime()
    return _day_and_zone(now.tm_year, now.tm_mon, now.tm_mday, now.tm_gmtoff, now.tm_zone)


@lru_cache(maxsize=4)
def _day_and_zone(year: int, month: int, day: int, offset: int, zone: str) -> str:
    """Cached for a day: formatting it costs as much as the rest of an agent."""
    return date_and_zone(datetime(year, month, day, tzinfo=timezone(timedelta(seconds=offset), zone)))


@lru_cache(maxsize=16)
def _prompt_of(
    replacement: str | None, append: str | None, policy: VaultPolicy, profile: ModelProfile, host_tools: tuple[str, ...]
) -> str:
    return with_host_tools(effective_prompt(replacement, append, policy, profile=profile), host_tools)


@lru_cache(maxsize=16)
def _system_message(prompt: str, date: str) -> ChatMessage:
    """One shared message for all agents with the same prompt: it is the longest of most conversations."""
    return ChatMessage("system", with_date(prompt, date))


def _record_chat(span: ActiveSpan, message: str, response: AgentResponse) -> None:
    span.set_usage(response.usage)
    span.set(names.TURNS, response.turns)
    span.set(names.STOP_REASON, response.stop_reason)
    if response.finish_reasons:
        span.set(names.FINISH_REASONS, [reason or "stop" for reason in response.finish_reasons])
    if span.content:
        span.set(names.INPUT_MESSAGES, messages_json([ChatMessage("user", message)]))
        span.set(names.OUTPUT_MESSAGES, answer_json(response.reply or response.partial, response.stop_reason))


def _record_block(span: ActiveSpan, code: str, result: BlockResult) -> None:
    span.set(names.SAVED, result.saved)
    span.set(names.TIER, result.tier)
    if result.error:
        span.failed(block_error_type(result.error), result.error)
    if span.content:
        span.set(names.TOOL_ARGUMENTS, texts_json({"code": code}))
        span.set(
            names.TOOL_RESULT, texts_json({"error": result.error, "printed": result.printed, **_shown(result.locals)})
        )


def _shown(values: Mapping[str, str]) -> dict[str, str]:
    return {f"locals.{name}": value for name, value in values.items()}


def _with_defaults(origin: CommitOrigin, own: CommitOrigin) -> CommitOrigin:
    return attrs.evolve(origin, author=origin.author or own.author, chat=origin.chat or own.chat)


def check_host_tool(name: str, tool: HostTool) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise InvalidInputError("host_tools", f"{name!r} is not a name that code can call; use letters, digits and _")
    if name in TOOL_NAMES:
        raise InvalidInputError("host_tools", f"{name!r} is already a tool of the notes; choose another name")
    if not iscoroutinefunction(tool) and not iscoroutinefunction(getattr(tool, "__call__", None)):  # noqa: B004
        raise InvalidInputError("host_tools", f"{name!r} must be an async function, not {type(tool).__name__}")


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, sync=True)
