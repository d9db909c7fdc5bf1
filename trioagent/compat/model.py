"""The documented `get_model_response`, sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

from .. import _messages
from .._config import ModelConfig
from ..models import Model
from ._choice import choice_of
from ._clients import openai_client as create_openai_client
from ._clients import vllm_client as create_vllm_client
from ._interop import run_sync
from ._model import ask, conversation
from .settings import OPENROUTER_STRONG_MODEL

__all__ = ("create_openai_client", "create_vllm_client", "get_model_response")

T = TypeVar("T")
Messages = Sequence[_messages.ChatMessage | Mapping[str, str]]


@overload
def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    schema: None = None,
    use_vllm: bool = False,
    client: object = None,
) -> str: ...


@overload
def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    *,
    schema: type[T],
    use_vllm: bool = False,
    client: object = None,
) -> T: ...


def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    schema: type[Any] | None = None,
    use_vllm: bool = False,
    client: object = None,
) -> Any:
    """See `trioagent.compat.async_agent.async_model.get_model_response`; this one blocks its thread.

    Raises:
        WrongContextError: called in Trio, which it would block.
    """
    choice, asked = choice_of(model, use_vllm=use_vllm, client=client), conversation(messages, message, system_prompt)
    return run_sync(ask, choice, asked, schema, name="get_model_response")
