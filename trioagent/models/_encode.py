"""Our side of the wire: the request's JSON body. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .._config import ModelConfig
from .._messages import ChatMessage

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode_request(config: ModelConfig, messages: Sequence[ChatMessage]) -> bytes:
    """The body of a chat completion request.

    Results of code (role ``tool``) go as ``user`` messages, and neighbours of one role as one message: many chat
    templates refuse a conversation in which user and assistant do not alternate.
    """
    spoken: list[dict[str, str]] = []
    for message in messages:
        role = "user" if message.role == "tool" else message.role
        if spoken and spoken[-1]["role"] == role:
            spoken[-1]["content"] += "\n\n" + message.content
        else:
            spoken.append({"role": role, "content": message.content})
    request: dict[str, Any] = {"model": config.model, "messages": spoken}
    if config.temperature is not None:
        request["temperature"] = config.temperature
    if config.max_tokens is not None:
        request["max_tokens"] = config.max_tokens
    if config.stream:
        request["stream"] = True
        request["stream_options"] = {"include_usage": True}
    # Lone surrogates, which a file name can bring in, have no UTF-8 form: they become "?".
    return _ENCODER.encode(request).encode(errors="replace")
