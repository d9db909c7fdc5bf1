"""Encodes a conversation as the JSON body of a chat completion request. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from .._config import ModelConfig
from .._messages import ChatMessage, Role
from .._server_behaviour import Change

_WIRE_ROLES: Mapping[Role, str] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}
_WITHOUT_SYSTEM: Mapping[Role, str] = {**_WIRE_ROLES, "system": "user"}
CHANGES: Mapping[Change, str] = {  # for people
    "no_stream_options": "without 'stream_options'",
    "no_stream": "without 'stream'",
    "max_completion_tokens": "with 'max_completion_tokens' in place of 'max_tokens'",
    "no_temperature": "without 'temperature'",
    "no_top_p": "without 'top_p'",
    "no_seed": "without 'seed'",
    "no_stop": "without 'stop'",
    "system_as_user": "with the system prompt in the first user message",
}
_CHANGED_MEMBER: Mapping[Change, str] = {
    "no_stream_options": "stream_options",
    "no_stream": "stream",
    "max_completion_tokens": "max_tokens",
    "no_temperature": "temperature",
    "no_top_p": "top_p",
    "no_seed": "seed",
    "no_stop": "stop",
}
_OPEN = {role: b'{"role":"%b","content":"' % role.encode() for role in _WIRE_ROLES.values()}
_CLOSE, _NEXT, _BLANK_LINE = b'"}', b'"},', b"\\n\\n"


class RequestEncoder:
    """Encodes one model's chat completion requests.

    A request is joined from messages that are already encoded, since a history only grows: see `ChatMessage.as_json`.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._starts: dict[frozenset[Change], bytes] = {}  # by set of changes: only a few in all

    def can_change(self, change: Change, changes: Set[Change]) -> bool:
        """Whether requests contain what *change* would change, and *changes* have not changed it already."""
        if change in changes:
            return False
        if change == "system_as_user":
            return True
        return _CHANGED_MEMBER[change] in self._settings(changes)

    def _settings(self, changes: Set[Change]) -> dict[str, Any]:
        """All members of a request except the messages."""
        config = self._config
        settings: dict[str, Any] = {"model": config.model, **config.extra_body}
        for name in ("temperature", "top_p", "max_tokens", "seed"):
            if (value := getattr(config, name)) is not None:
                settings[name] = value
        if config.stop:
            settings["stop"] = list(config.stop)
        if config.stream:
            settings["stream"] = True
            settings["stream_options"] = {"include_usage": True}
        for change in changes:
            member = _CHANGED_MEMBER.get(change, "")
            value = settings.pop(member, None)
            if change == "max_completion_tokens" and value is not None:
                settings[change] = value
            if change == "no_stream":
                settings.pop("stream_options", None)
        return settings

    def _start(self, changes: frozenset[Change]) -> bytes:
        start = self._starts.get(changes)
        if start is None:
            # Lone surrogates have no UTF-8 form: they become "?".
            text = json.dumps(self._settings(changes), ensure_ascii=False, separators=(",", ":"))
            start = self._starts[changes] = text.encode(errors="replace")[:-1] + b',"messages":['
        return start

    def encode(self, messages: Sequence[ChatMessage], changes: frozenset[Change] = frozenset()) -> bytes:
        """The body of a request.

        Args:
            changes: adaptations for what the server does not accept (see `AdaptRequest`).

        Results of code (role ``tool``) are sent as ``user`` messages, and neighbours of one role as one message: many
        chat templates refuse a conversation in which user and assistant do not alternate. Messages without content,
        such as an answer of reasoning alone, are left out, because servers refuse them; only a user's last message is
        sent in any case.
        """
        parts, before = [self._start(changes)], ""
        roles = _WITHOUT_SYSTEM if "system_as_user" in changes else _WIRE_ROLES
        for message in messages:
            if (not message.content or message.content.isspace()) and not (
                message is messages[-1] and message.role == "user"
            ):
                continue
            role = roles[message.role]
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
