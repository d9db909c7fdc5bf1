"""Request parameters by name, as users write them on a command line, in a job or in a configuration file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .._config import ModelConfig
from .._errors import InvalidInputError

OPTIONS = ("temperature", "top_p", "max_tokens", "seed", "stop", "stream")
"""Options with a field of their own in `ModelConfig`; any other one is a member of its ``extra_body``."""


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
