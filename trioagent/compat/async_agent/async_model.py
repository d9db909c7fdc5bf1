"""The documented `get_model_response`, for asyncio."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from ..._config import ModelConfig
from ...models import Model
from .._choice import choice_of
from .._clients import async_openai_client as create_async_openai_client
from .._clients import async_vllm_client as create_async_vllm_client
from .._interop import run_async
from .._model import ask, conversation
from ..model import Messages
from ..settings import OPENROUTER_STRONG_MODEL

__all__ = ("create_async_openai_client", "create_async_vllm_client", "get_model_response")

T = TypeVar("T")


@overload
async def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    schema: None = None,
    use_vllm: bool = False,
    client: object = None,
) -> str: ...


@overload
async def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    *,
    schema: type[T],
    use_vllm: bool = False,
    client: object = None,
) -> T: ...


async def get_model_response(
    messages: Messages | None = None,
    message: str | None = None,
    system_prompt: str | None = None,
    model: str | ModelConfig | Model = OPENROUTER_STRONG_MODEL,
    schema: type[Any] | None = None,
    use_vllm: bool = False,
    client: object = None,
) -> Any:
    """Send one request to a model, without an agent, notes or tools.

    Args:
        messages: the conversation, as `ChatMessage` or dicts with role and content; the next two have no effect then.
        message: the user's message, instead of a conversation.
        system_prompt: the system prompt for *message*.
        model: its name; for the default one the environment decides (see `trioagent.compat.Agent`).
        schema: an attrs class, or a pydantic model class: the result is an instance of it. A model whose answer does
            not fit is told why and asked again, at most twice.
        use_vllm: the model is served by the vLLM server.
        client: the server of the model: a result of `create_async_openai_client` or `create_async_vllm_client`, or a
            client of the package ``openai``, of which the address, the key and the headers are used.

    Raises:
        InvalidInputError: (a ValueError) no message, an unknown model, or a class that cannot be a schema.
        StructuredOutputError: no answer fitted the schema.
        ModelError: the model gave no answer.
    """
    choice, asked = choice_of(model, use_vllm=use_vllm, client=client), conversation(messages, message, system_prompt)
    return await run_async(ask, choice, asked, schema, name="get_model_response")
