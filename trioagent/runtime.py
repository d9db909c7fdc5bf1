"""`open_runtime`: what agents share, and its lifetime."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import attrs

from ._config import MemoryLimits, ModelConfig, RateLimits, SandboxLimits
from ._descriptors import raised_limit
from ._errors import InvalidInputError
from ._exceptions import open_helper_nursery
from ._network import NetworkConfig
from ._remote import RemoteWork
from ._reply_parser import ThoughtStyle
from ._tracing import Tracing, TracingConfig, open_tracing
from .memory import HistoryConfig, HistoryUpdater, history_config
from .models import (
    OFFLINE_RULES,
    Endpoints,
    Model,
    OfflineRules,
    RateLimiter,
    model_config,
    names_a_server,
    with_options,
)
from .sandbox import Sandbox, open_sandbox

_KEY_VARIABLES = ("OPENROUTER_API_KEY", "OPENAI_API_KEY")


@attrs.frozen(kw_only=True, eq=False)
class Runtime:
    """The model and the sandbox that any number of agents share; made by `open_runtime`."""

    model: Model
    sandbox: Sandbox
    memory_limits: MemoryLimits
    sync_notes: bool
    rate: RateLimits
    endpoints: Endpoints
    config: ModelConfig | None = None
    network: NetworkConfig = attrs.field(factory=NetworkConfig)
    thought_styles: dict[str, ThoughtStyle] = attrs.field(factory=dict)
    history: HistoryConfig | None = None
    tracing: Tracing | None = None
    history_updater: HistoryUpdater = attrs.field(factory=HistoryUpdater)
    remote: RemoteWork | None = None

    @property
    def rate_limiters(self) -> Mapping[str, RateLimiter]:
        """The rate limiters of all addresses in use."""
        return self.endpoints.rate_limiters

    @asynccontextmanager
    async def open_model(self, name: str | None, options: Mapping[str, Any] | None = None) -> AsyncIterator[Model]:
        """Another model; it shares the rate limiter of this runtime's own model if both are at one address.

        A name without a provider's prefix (such as ``vllm:``) is a model of this runtime's own server, and keeps its
        options.

        Args:
            name: None for this runtime's own model.
            options: request parameters such as ``temperature``, which override those kept from the runtime's own model
                (see `with_options`).

        Raises:
            InvalidInputError: the name is unknown, its key is missing, or an option cannot be used.
        """
        if self.config is not None and (name is None or not names_a_server(name)):
            chosen: ModelConfig | OfflineRules | Model = attrs.evolve(self.config, model=name or self.config.model)
        elif name is None:
            chosen = self.model
        else:
            chosen = _chosen(name, None, None, self.rate)
        if options:
            if not isinstance(chosen, ModelConfig):
                raise InvalidInputError("options", f"{_called(chosen)} takes none, but got {', '.join(options)}")
            chosen = with_options(chosen, options)
        async with _open(chosen, self.endpoints, self.network, self.remote) as model:
            yield model


class Cluster(Protocol):
    """Other machines that send a run's requests and run its blocks."""

    def open(self, runtime: Runtime) -> AbstractAsyncContextManager[Runtime]:
        """*runtime* with its model and its sandbox on the cluster's workers; the workers end with the block."""


@asynccontextmanager
async def open_runtime(
    model: str | ModelConfig | Model,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    rate: RateLimits | None = None,
    tier: str | None = None,
    sandbox_limits: SandboxLimits = SandboxLimits(),
    memory_limits: MemoryLimits = MemoryLimits(),
    sync_notes: bool = False,
    network: NetworkConfig = NetworkConfig(),
    history: bool | HistoryConfig = False,
    tracing: bool | TracingConfig = True,
) -> AsyncIterator[Runtime]:
    """Start what agents share; it ends with the block.

    Meanwhile the soft limit of open files (``RLIMIT_NOFILE``) of this process is raised to its hard limit. Tasks that
    need a descriptor wait for one if there are too few.

    Args:
        model: a name (``openrouter:…``, ``openai:…``, ``vllm:…``, ``ollama:…``, ``offline-rules``), a `ModelConfig`, or
            any object with the `Model` interface. There is no default: ``offline-rules`` is not a language model.
        base_url, api_key: for a name. A provider's own key variable (``OPENROUTER_API_KEY``, ``OPENAI_API_KEY``) is
            read if a name has that provider's prefix and no key is given; no other environment variable is.
        rate: for a name: the limits of its endpoint, and of models opened later by name. A
            `ModelConfig` has its own.
        tier: the sandbox tier to use; by default the best that works.
        sync_notes: flush every commit to the disk, so that notes survive a power cut, not only a killed process.
        network: proxies and certificate authorities for model servers. The environment is not read; the command line
            and `trioagent.compat` pass `NetworkConfig.from_env`.
        history: keep every commit of the agents' blocks in their memories (see `Memory`). The histories are filled
            in the background, and at the end for a few seconds at most.
        tracing: record spans with OpenTelemetry, if the process has set up a tracer provider before this call, or one
            is given in a `TracingConfig`, which can also enable content.

    Raises:
        InvalidInputError: the value is not a model, its key is missing, or a setting is given in two places.
        SandboxUnavailableError: no sandbox tier works here, or the requested one does not.
    """
    kept = history_config(history)
    if kept is not None and kept.folder is not None:
        raise InvalidInputError("history", "a folder belongs to one memory; pass it to the Agent")
    traced = open_tracing(tracing)
    async with AsyncExitStack() as stack:
        stack.enter_context(raised_limit())
        endpoints = Endpoints()
        if isinstance(model, str):
            limits = RateLimits() if rate is None else rate
            chosen: ModelConfig | OfflineRules | Model = _chosen(model, base_url, api_key, limits)
        else:
            _check_no_options(model, base_url=base_url, api_key=api_key, rate=rate)
            chosen = model
            limits = model.rate if isinstance(model, ModelConfig) else RateLimits()
        opened = await stack.enter_async_context(_open(chosen, endpoints, network))
        sandbox = await stack.enter_async_context(open_sandbox(tier, limits=sandbox_limits))
        updater = HistoryUpdater()
        if kept is not None:
            background = await stack.enter_async_context(open_helper_nursery())
            background.start_soon(updater.run)
        yield Runtime(
            model=opened,
            sandbox=sandbox,
            memory_limits=memory_limits,
            sync_notes=sync_notes,
            rate=limits,
            endpoints=endpoints,
            config=chosen if isinstance(chosen, ModelConfig) else None,
            network=network,
            history=kept,
            tracing=traced,
            history_updater=updater,
        )
        await updater.finish()


def _called(model: OfflineRules | Model) -> str:
    return OFFLINE_RULES if isinstance(model, OfflineRules) else model.name


def _check_no_options(model: object, **options: object) -> None:
    """A model that is not a name has its own settings; the same settings given separately would be ignored."""
    if not isinstance(model, ModelConfig | OfflineRules) and not callable(getattr(model, "answer", None)):
        raise InvalidInputError("model", f"must be a name, a ModelConfig or a Model, not {model!r:.100}")
    given = [name for name, value in options.items() if value is not None]
    if given:
        where = "set it in the ModelConfig" if isinstance(model, ModelConfig) else "a Model has its own settings"
        raise InvalidInputError("open_runtime", f"{' and '.join(given)}: only beside a model's name; {where}")


def _chosen(name: str, base_url: str | None, api_key: str | None, rate: RateLimits) -> ModelConfig | OfflineRules:
    keys = {variable: os.environ[variable] for variable in _KEY_VARIABLES if variable in os.environ}
    chosen = model_config(name, base_url=base_url, api_key=api_key, env=keys)
    return chosen if isinstance(chosen, OfflineRules) else attrs.evolve(chosen, rate=rate)


@asynccontextmanager
async def _open(
    model: ModelConfig | OfflineRules | Model,
    endpoints: Endpoints,
    network: NetworkConfig,
    remote: RemoteWork | None = None,
) -> AsyncIterator[Model]:
    """Resolve a name's settings or a Model; a caller-owned model stays open."""
    if remote is not None and not isinstance(model, ModelConfig):
        yield remote.model(model)
    elif isinstance(model, OfflineRules):
        from .models.offline_rules import OfflineRulesModel  # imported on use: 50 ms of regular expressions

        yield OfflineRulesModel()
    elif isinstance(model, ModelConfig):
        from .models import open_model  # imported on use: it loads httpx, 100 ms

        sender = None if remote is None else remote.sender(model)
        async with open_model(model, endpoints=endpoints, network=network, sender=sender) as opened:
            yield opened
    else:
        yield model
