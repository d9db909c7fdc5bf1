"""One request to a model, without an agent; shared by the sync and the asyncio `get_model_response`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import _messages
from .._errors import InvalidInputError
from ..models import Model, complete
from ._runtimes import Settings, runtime_for
from .schemas import ChatMessage, Role


def conversation(
    messages: Sequence[_messages.ChatMessage | Mapping[str, str]] | None,
    message: str | None,
    system_prompt: str | None,
) -> list[ChatMessage]:
    """The messages to send: *messages* if given, else *system_prompt* and *message*.

    Raises:
        InvalidInputError: there is neither, or a message without role and content.
    """
    if isinstance(messages, str | Mapping):
        raise InvalidInputError(
            "messages", f"must be a list of messages, not {messages!r:.100}; say message= for a text"
        )
    if messages is not None:
        return [ChatMessage.of(one) for one in messages]
    if message is None:
        raise InvalidInputError("get_model_response", "needs messages or a message")
    first = [ChatMessage(Role.SYSTEM, system_prompt)] if system_prompt else []
    return [*first, ChatMessage(Role.USER, message)]


async def ask(choice: Settings | Model, messages: Sequence[ChatMessage], schema: type[Any] | None) -> Any:
    """The model's answer; in Trio."""
    runtime = await runtime_for(choice)
    return (await complete(runtime.model, messages, schema=schema)).value
