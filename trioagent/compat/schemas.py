"""The data classes of the documented API: `Role`, `ChatMessage`, `AgentResponse`, `EntityFile`, `StaticMemory`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from operator import attrgetter
from typing import Any, ClassVar

import attrs

from .. import _messages
from .._errors import InvalidInputError
from .._files import write_whole
from ._folders import absolute, path_text
from ._values import REQUIRED, PydanticStyle, ValueField, lacks

__all__ = ("AgentResponse", "ChatMessage", "EntityFile", "Role", "StaticMemory")


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


def _text(what: str, value: object, *, optional: bool = False) -> Any:
    if optional and value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError(what, f"must be text, not {value!r:.100}")
    return value


@attrs.define(init=False)
class ChatMessage(PydanticStyle, _messages.ChatMessage):
    """One message of a conversation; its role and content may be assigned.

    A block's result has the role ``user`` here, as memory-agent models receive it, and ``tool`` in saved files.

    Args:
        from_tool: it is a block's result, or a hint about an answer that could not be used.

    Raises:
        InvalidInputError: (a ValueError) the role is not one of `Role`, or the content is not text.
    """

    fields: ClassVar[Mapping[str, ValueField]] = {"role": ValueField(Role), "content": ValueField(str)}

    role: Role  # type: ignore[assignment]  # in the base class it is a plain string, and frozen
    content: str
    from_tool: bool = attrs.field(default=False, eq=False, repr=False)

    def __init__(
        self, role: str = REQUIRED, content: str = REQUIRED, *, from_tool: bool = False, **more: object
    ) -> None:
        if role is REQUIRED or content is REQUIRED:
            lacks(type(self), "role" if role is REQUIRED else "content")
        put = object.__setattr__  # `as_json` has not been computed yet
        put(self, "role", _role(role))
        put(self, "content", _text("content", content))
        put(self, "from_tool", from_tool)
        if self.added:
            self._set_added(more)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "role":
            value = _role(value)
        elif name == "content":
            value = _text(name, value)
            with suppress(AttributeError):
                object.__delattr__(self, "as_json")  # computed from the content
        object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return PydanticStyle.__str__(self)

    @classmethod
    def of(cls, message: _messages.ChatMessage | Mapping[str, str]) -> ChatMessage:
        """The same message as an object of this class.

        Raises:
            InvalidInputError: it is neither a message nor a mapping with valid ``role`` and ``content``.
        """
        if isinstance(message, cls):
            return message
        if isinstance(message, _messages.ChatMessage):
            made = cls.__new__(cls)  # skips validation, since this runs for every message of every chat
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
_response_values = attrgetter(*_RESPONSE_DEFAULTS)


@attrs.define(init=False, kw_only=True)
class AgentResponse(PydanticStyle, _messages.AgentResponse):
    """The result of one chat; see `trioagent.AgentResponse`. Its fields may be assigned."""

    fields: ClassVar[Mapping[str, ValueField]] = {
        "thoughts": ValueField(str),
        "python_block": ValueField(str | None, None),
        "reply": ValueField(str | None, None),
    }

    def __init__(
        self, thoughts: str = REQUIRED, python_block: str | None = None, reply: str | None = None, **more: object
    ) -> None:
        if thoughts is REQUIRED:
            lacks(type(self), "thoughts")
        given = {
            "thoughts": _text("thoughts", thoughts),
            "python_block": _text("python_block", python_block, optional=True),
            "reply": _text("reply", reply, optional=True),
            **more,
        }
        for name, default in _RESPONSE_DEFAULTS.items():
            setattr(self, name, given.get(name, {} if name == "repairs" else default))
        self._set_added(more)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def of(cls, response: _messages.AgentResponse) -> AgentResponse:
        """The same response as an object of this class."""
        if isinstance(response, cls):
            return response
        made, put = cls.__new__(cls), object.__setattr__  # skips validation, since this runs for every chat
        for name, value in zip(_RESPONSE_DEFAULTS, _response_values(response), strict=True):
            put(made, name, value)
        return made

    def __str__(self) -> str:
        return f"Thoughts: {self.thoughts}\nPython block:\n{self.python_block or ''}\nReply: {self.reply or ''}"


@attrs.define(init=False)
class EntityFile(PydanticStyle):
    """A note of a `StaticMemory`.

    Raises:
        InvalidInputError: (a ValueError) a value is not text.
    """

    fields: ClassVar[Mapping[str, ValueField]] = {
        "entity_name": ValueField(str),
        "entity_file_path": ValueField(str),
        "entity_file_content": ValueField(str),
    }

    entity_name: str
    entity_file_path: str
    entity_file_content: str

    def __init__(
        self,
        entity_name: str = REQUIRED,
        entity_file_path: str = REQUIRED,
        entity_file_content: str = REQUIRED,
        **more: object,
    ) -> None:
        given = (entity_name, entity_file_path, entity_file_content)
        for name, value in zip(EntityFile.fields, given, strict=True):
            setattr(self, name, lacks(type(self), name) if value is REQUIRED else _text(name, value))
        self._set_added(more)


@attrs.define(init=False)
class StaticMemory(PydanticStyle):
    """Notes to begin a memory with.

    Raises:
        InvalidInputError: (a ValueError) a value has the wrong type, or a path leaves the memory.
    """

    fields: ClassVar[Mapping[str, ValueField]] = {
        "memory_id": ValueField(str),
        "user_md": ValueField(str),
        "entities": ValueField(list[EntityFile]),
    }

    memory_id: str
    user_md: str
    entities: list[EntityFile]

    def __init__(
        self,
        memory_id: str = REQUIRED,
        user_md: str = REQUIRED,
        entities: list[EntityFile] = REQUIRED,
        **more: object,
    ) -> None:
        for name, value in zip(StaticMemory.fields, (memory_id, user_md, entities), strict=True):
            if value is REQUIRED:
                lacks(type(self), name)
        self.memory_id = _text("memory_id", memory_id)
        self.user_md = _text("user_md", user_md)
        if not isinstance(entities, list | tuple):
            raise InvalidInputError("entities", f"must be a list, not {entities!r:.100}")
        self.entities = [EntityFile.model_validate(entity) for entity in entities]
        self._set_added(more)

    def instantiate(self, path: str | os.PathLike[str]) -> None:
        """Write the notes into the folder ``memory_id`` below *path*, over those of the same names.

        Raises:
            InvalidInputError: *path*, the id or a note's path cannot be used; nothing was written.
            OSError: the files cannot be written.
        """
        for place, content in self._notes(path).items():
            os.makedirs(os.path.dirname(place), exist_ok=True)
            write_whole(absolute(place, "path"), content.encode("utf-8", "backslashreplace"))

    def reset(self, path: str | os.PathLike[str]) -> None:
        """Restore the notes of this memory, and leave all others alone; see `instantiate`."""
        notes = self._notes(path)
        for place in notes:
            with suppress(FileNotFoundError):
                os.remove(place)
        self.instantiate(path)

    def _notes(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """The content of each file, by its absolute path."""
        base = str(absolute(path, "path"))
        memory = _below(base, self.memory_id, "memory_id")
        found = {os.path.join(memory, "user.md"): self.user_md}
        for entity in self.entities:
            found[_below(memory, entity.entity_file_path, "entity_file_path")] = entity.entity_file_content
        return found


def _below(folder: str, name: str, what: str) -> str:
    path = os.path.normpath(os.path.join(folder, path_text(name, what)))
    if not path.startswith(os.path.join(folder, "")):
        raise InvalidInputError(what, f"{name!r} leads out of {folder!r}; name a path below it")
    return path
