"""Handles of model servers, which replace the clients that the documented API's functions create and accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import attrs

from .._errors import InvalidInputError
from . import settings

INSTEAD = "for another address use model=ModelConfig(base_url=..., model=..., api_key=...), without a client"


@attrs.frozen
class ModelClient:
    """A server's address and key, for ``get_model_response(client=...)``. It holds no connection.

    All connections of a process are shared, whichever client is given.
    """

    base_url: str
    api_key: str | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{name!r}: this client only names a server; ask with get_model_response(client=...)")


@attrs.frozen
class AsyncModelClient(ModelClient):
    """A `ModelClient` with the asynchronous methods of asyncio clients."""

    async def close(self) -> None:  # type: ignore[override]  # as clients of asyncio do
        """Does nothing: there is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def openai_client() -> ModelClient:
    """OpenRouter, or the server at ``OPENROUTER_BASE_URL``."""
    return ModelClient(settings.OPENROUTER_BASE_URL, settings.OPENROUTER_API_KEY)


def async_openai_client() -> AsyncModelClient:
    """See `openai_client`."""
    return _for_asyncio(openai_client())


def vllm_client(host: str | None = None, port: int | str | None = None) -> ModelClient:
    """The vLLM server at *host* and *port*, by default the one in the settings.

    Raises:
        InvalidInputError: the port is not a port number.
    """
    key = settings.VLLM_API_KEY or settings.LITELLM_API_KEY
    if host is None and port is None and (url := settings.VLLM_BASE_URL or settings.LITELLM_BASE_URL):
        return ModelClient(url, key)
    number: Any = settings.VLLM_PORT if port is None else port
    if isinstance(number, str) and number.isascii() and number.isdecimal():  # as the environment says it
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise InvalidInputError("port", f"must be a number from 1 to 65535, not {port!r}")
    return ModelClient(f"http://{settings.VLLM_HOST if host is None else host}:{number}/v1", key)


def async_vllm_client(host: str | None = None, port: int | str | None = None) -> AsyncModelClient:
    """See `vllm_client`."""
    return _for_asyncio(vllm_client(host, port))


def _for_asyncio(client: ModelClient) -> AsyncModelClient:
    return AsyncModelClient(client.base_url, client.api_key)


def server_of(client: object) -> ModelClient:
    """The server of *client*: one of these handles, or a client of the package ``openai``.

    Of the latter, only the address, key and headers are used, not its connections.

    Raises:
        InvalidInputError: it is neither, or adds query parameters to its requests.
    """
    if isinstance(client, ModelClient):
        return client
    kind, said = type(client), cast("Any", client)
    if kind.__module__.partition(".")[0] != "openai" or kind.__name__ not in ("OpenAI", "AsyncOpenAI"):
        raise InvalidInputError(
            "client",
            "must be one of create_openai_client() or create_vllm_client(), an openai.OpenAI or an "
            f"openai.AsyncOpenAI, not {client!r:.100}; {INSTEAD}",
        )
    if said.default_query:
        raise InvalidInputError("client", f"adds query parameters, {said.default_query!r:.100}; {INSTEAD}")
    headers = {name: value for name, value in said._custom_headers.items() if isinstance(value, str)}
    return ModelClient(str(said.base_url).rstrip("/"), said.api_key or None, headers)
