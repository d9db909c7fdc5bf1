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
    """What decides how a model samples its answers, by name, for comparing; what is left to its server is None.

    Args:
        model: a configuration, or an open model that has one as ``config``; of any other model nothing is known.
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
    # By its hash: it may hold what is nobody's business.
    body = json.dumps(dict(config.extra_body), sort_keys=True, default=repr)
    sampling["extra_body"] = hashlib.sha256(body.encode()).hexdigest()[:16] if config.extra_body else None
    return sampling


def with_options(config: ModelConfig, options: Mapping[str, Any]) -> ModelConfig:
    """*config* with *options* over its own; None removes one.

    Raises:
        InvalidInputError: an option has a value that it cannot have.
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
