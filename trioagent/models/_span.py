"""The span of one answer of a model, with all attempts at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from .. import _span_names as names
from .._config import ModelConfig
from .._messages import ChatMessage, Usage
from .._tracing import NO_SPAN, SPAN, ActiveSpan, Value, add_event, answer_json, messages_json, model_error_type
from ._base import Model, Retrying

_PORTS = {"http": 80, "https": 443}


def start_model_span(model: Model, messages: Sequence[ChatMessage]) -> AbstractContextManager[ActiveSpan | None]:
    """A child of our current span, to be entered; none if there is no current span."""
    outer = SPAN.get()
    if outer is None:
        return NO_SPAN
    config = getattr(model, "config", None)
    attributes: dict[str, Value] = {names.OPERATION: names.CHAT, names.REQUEST_MODEL: model.name}
    if isinstance(config, ModelConfig):
        attributes |= {**_of_server(config.base_url), **_of_request(config)}
    else:
        attributes[names.PROVIDER] = names.EMBEDDED
    if outer.content:
        attributes[names.INPUT_MESSAGES] = messages_json(messages)
    return outer.part(f"{names.CHAT} {model.name}", attributes, client=isinstance(config, ModelConfig))


def record_answer(span: ActiveSpan, text: str, usage: Usage, finish_reason: str) -> None:
    """Record the outcome. An answer that was not read to its end has no finish reason: it was complete."""
    span.set_usage(usage)
    reason = finish_reason or "stop"
    span.set(names.FINISH_REASONS, [reason])
    if span.content:
        span.set(names.OUTPUT_MESSAGES, answer_json(text, reason))


def record_retry(retry: Retrying) -> None:
    """Record, in the current span, that an attempt failed and another follows."""
    add_event(
        names.RETRY,
        {names.ATTEMPT: retry.attempt, names.DELAY: retry.delay, names.ERROR_TYPE: model_error_type(retry.error)},
    )


@lru_cache(maxsize=64)
def _of_server(base_url: str) -> Mapping[str, Value]:
    """The server's address. A URL's user, password and query are not recorded: they may be secrets."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return {
        names.PROVIDER: names.PROVIDERS.get(host, names.OPENAI),
        names.SERVER_ADDRESS: host,
        names.SERVER_PORT: parts.port or _PORTS.get(parts.scheme, 0),
    }


def _of_request(config: ModelConfig) -> Mapping[str, Value]:
    found: dict[str, Value] = {names.REQUEST_STREAM: True} if config.stream else {}
    for option, name in names.REQUEST_OPTIONS.items():
        value: Any = getattr(config, option, None)
        value = config.extra_body.get(option) if value is None else value
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    return found
