"""Handles of model servers, in the place of the clients that the documented API's functions make and take."""

from __future__ import annotations

from typing import Any

import attrs

from .._errors import InvalidInputError
from . import settings


@attrs.frozen
class ModelClient:
    """A server's address and key, for ``get_model_response(client=...)``. It holds no connection.

    All connections of a process are shared, whichever client is given.
    """

    base_url: str
    api_key: str | None = attrs.field(default=None, repr=False)

    def close(self) -> None:
        """Nothing is to be closed."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{name!r}: this client only names a server; ask with get_model_response(client=...)")


def openai_client() -> ModelClient:
    """OpenRouter, or what ``OPENROUTER_BASE_URL`` names."""
    return ModelClient(settings.OPENROUTER_BASE_URL, settings.OPENROUTER_API_KEY)


def vllm_client(host: str | None = None, port: int | None = None) -> ModelClient:
    """The vLLM server at *host* and *port*, else the one that the settings name.

    Raises:
        InvalidInputError: the port is no number of a port.
    """
    key = settings.VLLM_API_KEY or settings.LITELLM_API_KEY
    if host is None and port is None and (url := settings.VLLM_BASE_URL or settings.LITELLM_BASE_URL):
        return ModelClient(url, key)
    number: Any = settings.VLLM_PORT if port is None else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise InvalidInputError("port", f"must be a number from 1 to 65535, not {number!r}")
    return ModelClient(f"http://{settings.VLLM_HOST if host is None else host}:{number}/v1", key)
