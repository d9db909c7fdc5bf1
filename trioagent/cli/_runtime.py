"""The runtime of a command."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager

from .._config import ModelConfig, RateLimits
from .._network import NetworkConfig
from .._tracing import TracingConfig
from ..runtime import Runtime, open_runtime


def open_command_runtime(
    model: str | ModelConfig, *, rate: RateLimits | None = None, network: NetworkConfig, history: bool = False
) -> AbstractAsyncContextManager[Runtime]:
    """A runtime whose tracing is set by the environment.

    Args:
        rate: for a model that is given by its name; a `ModelConfig` has its own.
        network, history: see `open_runtime`.
    """
    return open_runtime(
        model,
        rate=rate if isinstance(model, str) else None,
        network=network,
        history=history,
        tracing=TracingConfig.from_env(os.environ),
    )
