"""The data classes of the documented API: `Role`, `ChatMessage`, `AgentResponse`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from .. import _messages
from .._errors import InvalidInputError
from .._messages import AgentResponse as AgentResponse


class Role(StrEnum):
    """The author of a message. A string enumeration: ``Role.USER == "user"``."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


def _role(value: object) -> Role:
    try:
        return Role(str(value))
    except ValueError:
        raise InvalidInputError("role", f"must be one of {', '.join(Role)}, not {value!r}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError("content", f"must be text, not {value!r:.100}")
    return value


@attrs.frozen
class ChatMessage(_messages.ChatMessage):
    """One message of a conversation.

    Raises:
        InvalidInputError: the role is none of `Role`'s, or the content is no text.
    """

    role: Role = attrs.field(converter=_role)  # type: ignore[assignment]  # a role of the base class is a plain string
    content: str = attrs.field(converter=_text)

    @classmethod
    def of(cls, message: _messages.ChatMessage | Mapping[str, str]) -> ChatMessage:
        """The same message as one of these.

        Raises:
            InvalidInputError: it is neither a message nor a mapping with ``role`` and ``content``, or these are wrong.
        """
        if isinstance(message, cls):
            return message
        if isinstance(message, _messages.ChatMessage):
            return cls(message.role, message.content)
        try:
            role, content = message["role"], message["content"]
        except (TypeError, LookupError):
            raise InvalidInputError("messages", f"need a role and a content, unlike {message!r:.100}") from None
        return cls(role, content)

    def model_dump(self) -> dict[str, str]:
        """Role and content as a dict of plain strings."""
        return {"role": self.role.value, "content": self.content}
