"""The data classes of the documented API: `Role`, `ChatMessage`, `AgentResponse`, `EntityFile`, `StaticMemory`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, ClassVar

import attrs

from .. import _messages
from .._errors import InvalidInputError
from .._files import write_whole
from ._folders import absolute, path_text
from ._values import PydanticStyle


class Role(StrEnum):
    """The author of a message. A string enumeration: ``Role.USER == "user"``."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


def _role(value: object) -> Role:
    if type(value) is Role:
        return value
    try:
        return Role(str(value))
    except ValueError:
        raise InvalidInputError("role", f"must be one of {', '.join(Role)}, not {value!r}") from None


_ROLES_HERE = {role.value: Role.USER if role is Role.TOOL else role for role in Role}


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(what, f"must be text, not {value!r:.100}")
    return value


@attrs.define(init=False)
class ChatMessage(PydanticStyle, _messages.ChatMessage):
    """One message of a conversation; its role and content may be assigned.

    A block's result has role ``user`` here, as memory-agent models are told it, and ``tool`` in saved files.

    Args:
        from_tool: it is a block's result, or what the model was told of an answer that could not be used.

    Raises:
        InvalidInputError: (a ValueError) the role is none of `Role`'s, or the content is no text.
    """

    dumped: ClassVar[tuple[str, ...]] = ("role", "content")

    role: Role  # type: ignore[assignment]  # in the base class it is a plain string, and frozen
    content: str
    from_tool: bool = attrs.field(default=False, eq=False, repr=False)

    def __init__(self, role: str, content: str, *, from_tool: bool = False, **ignored: object) -> None:
        put = object.__setattr__  # nothing is made of the content yet
        put(self, "role", _role(role))
        put(self, "content", _text("content", content))
        put(self, "from_tool", from_tool)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "role":
            value = _role(value)
        elif name == "content":
            value = _text(name, value)
            with suppress(AttributeError):
                object.__delattr__(self, "as_json")  # which is made of the content
        object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return PydanticStyle.__str__(self)

    @classmethod
    def of(cls, message: _messages.ChatMessage | Mapping[str, str]) -> ChatMessage:
        """The same message as one of these.

        Raises:
            InvalidInputError: it is neither a message nor a mapping with ``role`` and ``content``, or these are wrong.
        """
        if isinstance(message, cls):
            return message
        if isinstance(message, _messages.ChatMessage):
            made = cls.__new__(cls)  # past the checks: this is done for every message of every chat
            put = object.__setattr__
            put(made, "role", _ROLES_HERE[message.role])
            put(made, "content", message.content)
            put(made, "from_tool", message.role == "tool")
            return made
        try:
            role, content = message["role"], message["content"]
        except (TypeError, LookupError):
            raise InvalidInputError("messages", f"need a role and a content, unlike {message!r:.100}") from None
        return cls(role, content)

    def for_model(self) -> _messages.ChatMessage:
        """This message for a `trioagent.Agent`, in which a result has the role ``tool``."""
        return _messages.ChatMessage("tool", self.content) if self.from_tool else self

    @property
    def saved_role(self) -> Role:
        """The role in saved files."""
        return Role.TOOL if self.from_tool or self.content.startswith("<result>") else self.role


_RESPONSE_DEFAULTS = {field.name: field.default for field in attrs.fields(_messages.AgentResponse)}


@attrs.define(init=False, kw_only=True)
class AgentResponse(PydanticStyle, _messages.AgentResponse):
    """What one chat came to; see `trioagent.AgentResponse`. Its fields may be assigned."""

    dumped: ClassVar[tuple[str, ...]] = ("thoughts", "python_block", "reply")

    def __init__(
        self, thoughts: str, python_block: str | None = None, reply: str | None = None, **more: object
    ) -> None:
        given = {"thoughts": thoughts, "python_block": python_block, "reply": reply, **more}
        for name, default in _RESPONSE_DEFAULTS.items():
            setattr(self, name, given.get(name, {} if name == "repairs" else default))

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def of(cls, response: _messages.AgentResponse) -> AgentResponse:
        """The same response as one of these."""
        if isinstance(response, cls):
            return response
        made = cls.__new__(cls)
        for name in _RESPONSE_DEFAULTS:
            object.__setattr__(made, name, getattr(response, name))
        return made

    def __str__(self) -> str:
        return f"Thoughts: {self.thoughts}\nPython block:\n{self.python_block or ''}\nReply: {self.reply or ''}"


@attrs.define(init=False)
class EntityFile(PydanticStyle):
    """A note of a `StaticMemory`.

    Raises:
        InvalidInputError: (a ValueError) a value is no text.
    """

    dumped: ClassVar[tuple[str, ...]] = ("entity_name", "entity_file_path", "entity_file_content")

    entity_name: str
    entity_file_path: str
    entity_file_content: str

    def __init__(self, entity_name: str, entity_file_path: str, entity_file_content: str, **ignored: object) -> None:
        self.entity_name = _text("entity_name", entity_name)
        self.entity_file_path = _text("entity_file_path", entity_file_path)
        self.entity_file_content = _text("entity_file_content", entity_file_content)


@attrs.define(init=False)
class StaticMemory(PydanticStyle):
    """Notes to begin a memory with.

    Raises:
        InvalidInputError: (a ValueError) a value has the wrong type, or a path leaves the memory.
    """

    dumped: ClassVar[tuple[str, ...]] = ("memory_id", "user_md", "entities")

    memory_id: str
    user_md: str
    entities: list[EntityFile]

    def __init__(self, memory_id: str, user_md: str, entities: list[EntityFile], **ignored: object) -> None:
        self.memory_id = _text("memory_id", memory_id)
        self.user_md = _text("user_md", user_md)
        if not isinstance(entities, list | tuple):
            raise InvalidInputError("entities", f"must be a list, not {entities!r:.100}")
        self.entities = [EntityFile.model_validate(entity) for entity in entities]

    def instantiate(self, path: str | os.PathLike[str]) -> None:
        """Write the notes into the folder ``memory_id`` below *path*, over those of the same names.

        Raises:
            InvalidInputError: *path*, the id or a note's path cannot be used; nothing was written.
            OSError: the file system refuses.
        """
        for place, content in self._notes(path).items():
            os.makedirs(os.path.dirname(place), exist_ok=True)
            write_whole(absolute(place, "path"), content.encode("utf-8", "backslashreplace"))

    def reset(self, path: str | os.PathLike[str]) -> None:
        """Put the notes back as they are in here, and leave all others alone; see `instantiate`."""
        notes = self._notes(path)
        for place in notes:
            with suppress(FileNotFoundError):
                os.remove(place)
        self.instantiate(path)

    def _notes(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """What is in each file, by its absolute path."""
        base = str(absolute(path, "path"))
        memory = _below(base, self.memory_id, "memory_id")
        found = {os.path.join(memory, "user.md"): self.user_md}
        for entity in self.entities:
            found[_below(memory, entity.entity_file_path, "entity_file_path")] = entity.entity_file_content
        return found


def _below(folder: str, name: str, what: str) -> str:
    path = os.path.normpath(os.path.join(folder, path_text(name, what)))
    if not path.startswith(os.path.join(folder, "")):
        raise InvalidInputError(what, f"{name!r} leaves {folder!r}; name a place below it")
    return path
