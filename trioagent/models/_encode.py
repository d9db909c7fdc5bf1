"""Encodes a conversation as the JSON body of a chat completion request. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .._config import ModelConfig
from .._messages import ChatMessage, Role

_WIRE_ROLES: Mapping[Role, str] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}
_OPEN = {role: b'{"role":"%b","content":"' % role.encode() for role in _WIRE_ROLES.values()}
_CLOSE, _NEXT, _BLANK_LINE = b'"}', b'"},', b"\\n\\n"


class RequestEncoder:
    """Encodes one model's chat completion requests.

    A request is joined from messages that are encoded already, since a history only grows: see `ChatMessage.as_json`.
    """

    def __init__(self, config: ModelConfig) -> None:
        settings: dict[str, Any] = {"model": config.model, **config.extra_body}
        for name in ("temperature", "top_p", "max_tokens", "seed"):
            if (value := getattr(config, name)) is not None:
                settings[name] = value
        if config.stop:
            settings["stop"] = list(config.stop)
        if config.stream:
            settings["stream"] = True
            settings["stream_options"] = {"include_usage": True}
        # Lone surrogates have no UTF-8 form: they become "?".
        text = json.dumps(settings, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        self._start = text[:-1] + b',"messages":['

    def encode(self, messages: Sequence[ChatMessage]) -> bytes:
        """The body of a request.

        Results of code (role ``tool``) go as ``user`` messages, and neighbours of one role as one message: many chat
        templates refuse a conversation in which user and assistant do not alternate. Messages without content, such as
        an answer of reasoning alone, are left out: servers refuse them.
        """
        parts, before = [self._start], ""
        for message in messages:
            if not message.content or message.content.isspace():
                continue
            role = _WIRE_ROLES[message.role]
            if role == before:
                parts.append(_BLANK_LINE)
            else:
                if before:
                    parts.append(_NEXT)
                parts.append(_OPEN[role])
                before = role
            parts.append(message.as_json)
        if before:
            parts.append(_CLOSE)
        parts.append(b"]}")
        return b"".join(parts)
