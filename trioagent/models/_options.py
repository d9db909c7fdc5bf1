"""Request parameters by name, as users write them on a command line, in a job or in a configuration file. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

from .._config import ModelConfig
from .._context import CONTEXT_RULES
from .._errors import InvalidInputError

OPTIONS = ("temperature", "top_p", "max_tokens", "seed", "stop", "stream", "context_tokens")
"""Options with a field of their own in `ModelConfig`; any other one is a member of its ``extra_body``."""


def sampling_of(model: object) -> dict[str, Any]:
    """The settings that decide how a model samples its answers, by name, for comparing; None for the server's default.

    Args:
        model: a configuration, or an open model that has one as ``config``; nothing is known of other models.
    """
    config = model if isinstance(model, ModelConfig) else getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        return {}
    sampling: dict[str, Any] = {}
    for name in ("temperature", "top_p", "max_tokens", "seed", "stop"):
        value = getattr(config, name)
        sampling[name] = list(value) if isinstance(value, tuple) else value
    if config.context_tokens is not None:
        sampling |= {"context_tokens": config.context_tokens, "context_rules": CONTEXT_RULES}
    # By its hash: it may contain private data.
    body = json.dumps(dict(config.extra_body), sort_keys=True, default=repr)
    sampling["extra_body"] = hashlib.sha256(body.encode()).hexdigest()[:16] if config.extra_body else None
    return sampling


def with_options(config: ModelConfig, options: Mapping[str, Any]) -> ModelConfig:
    """*config* with *options* applied; None removes one.

    Raises:
        InvalidInputError: an option has an invalid value.
    """
    known = {name: value for name, value in options.items() if name in OPTIONS}
    extra = dict(config.extra_body)
    for name, value in options.items():
        if name in OPTIONS:
            continue
        if value is None:
            extra.pop(name, None)
        else:
            extra[name] = value
    if known.get("stop", ()) is None:
        known["stop"] = ()
    if not isinstance(known.get("stream", True), bool):
        raise InvalidInputError("stream", f"must be true or false, not {known['stream']!r}")
    try:
        return attrs.evolve(config, **known, extra_body=extra)
    except InvalidInputError as error:
        raise InvalidInputError(error.what.removeprefix("ModelConfig."), error.problem) from error
