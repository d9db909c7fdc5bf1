"""The bridge's runtimes: one sandbox shared by all, one model per configuration, opened on first use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from .._config import ModelConfig, SandboxLimits
from .._exceptions import open_helper_nursery
from .._network import NetworkConfig
from .._tracing import TracingConfig
from ..models import OFFLINE_RULES, Model, OfflineRules
from ..runtime import Runtime, open_runtime
from ..sandbox import Sandbox, open_sandbox
from . import _configuration

Settings = ModelConfig | OfflineRules


class Runtimes:
    """The runtimes of one Trio run, by the settings of their models."""

    def __init__(self, holders: trio.Nursery, stack: AsyncExitStack) -> None:
        self._holders, self._stack = holders, stack
        self._open: dict[Settings, Runtime] = {}
        self._sandboxes: dict[float, Sandbox] = {}
        self._opening = trio.Lock()

    async def get(self, settings: Settings) -> Runtime:
        if settings not in self._open:
            async with self._opening:
                if settings not in self._open:
                    self._open[settings] = await self._add(settings)
        return self._open[settings]

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox that all share; None until the first chat. For any thread."""
        runtime = next(iter(list(self._open.values())), None)
        return None if runtime is None else runtime.sandbox

    async def any(self) -> Runtime:
        """Any open runtime, whatever its model."""
        return next(iter(self._open.values()), None) or await self.get(OfflineRules())

    async def sandbox_for(self, seconds: float) -> Sandbox:
        """A sandbox whose blocks have this wall clock limit."""
        shared = (await self.any()).sandbox
        if seconds <= shared.limits.wall_seconds:
            return shared
        async with self._opening:
            if seconds not in self._sandboxes:
                limits = attrs.evolve(shared.limits, wall_seconds=seconds)
                self._sandboxes[seconds] = await self._holders.start(_hold_sandbox, shared.tier, limits)
            return self._sandboxes[seconds]

    async def _add(self, settings: Settings) -> Runtime:
        if not self._open:
            runtime: Runtime = await self._holders.start(_hold, settings)
            return runtime
        first = next(iter(self._open.values()))
        if isinstance(settings, OfflineRules):
            model = await self._stack.enter_async_context(first.open_model(OFFLINE_RULES))
            return attrs.evolve(first, model=model, config=None)
        from ..models import open_model  # imports httpx, which takes 100 ms

        model = await self._stack.enter_async_context(
            open_model(settings, endpoints=first.endpoints, network=first.network)
        )
        return attrs.evolve(first, model=model, config=settings)


async def _hold(settings: Settings, *, task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep a runtime open. It has a nursery of its own, so one task must enter and leave it, whoever needs it."""
    config = _configuration.current()
    async with open_runtime(
        OFFLINE_RULES if isinstance(settings, OfflineRules) else settings,
        tier=config.tier,
        sandbox_limits=config.sandbox_limits,
        memory_limits=config.memory_limits,
        sync_notes=config.sync_notes,
        network=NetworkConfig.from_env(os.environ),
        tracing=TracingConfig.from_env(os.environ),
    ) as runtime:
        task_status.started(runtime)
        await trio.sleep_forever()


async def _hold_sandbox(
    tier: str, limits: SandboxLimits, *, task_status: trio.TaskStatus[Sandbox] = trio.TASK_STATUS_IGNORED
) -> None:
    async with open_sandbox(tier, limits=limits) as sandbox:
        task_status.started(sandbox)
        await trio.sleep_forever()


_current: trio.lowlevel.RunVar[Runtimes] = trio.lowlevel.RunVar("trioagent.compat runtimes")


@asynccontextmanager
async def open_runtimes() -> AsyncIterator[Runtimes]:
    """Make `runtime_for` work in this Trio run; on exit everything that it opened is closed."""
    async with open_helper_nursery() as holders, AsyncExitStack() as stack:
        runtimes = Runtimes(holders, stack)
        _current.set(runtimes)
        yield runtimes


async def runtime_for(choice: Settings | Model) -> Runtime:
    """A runtime of this run with the chosen model. All runtimes share one sandbox.

    Cancelling while it opens leaves nothing behind; the next caller opens it.

    Raises:
        SandboxUnavailableError: no sandbox tier works here.
    """
    runtimes = _current.get()
    if isinstance(choice, ModelConfig | OfflineRules):
        return await runtimes.get(OfflineRules() if isinstance(choice, OfflineRules) else choice)
    return attrs.evolve(await runtimes.any(), model=choice, config=None)


def current_sandbox() -> Sandbox | None:
    """The sandbox that this run's agents share; None until the first chat."""
    return _current.get().sandbox


async def sandbox_for(seconds: float) -> Sandbox:
    """A sandbox of this run whose blocks have a wall clock limit of *seconds*."""
    return await _current.get().sandbox_for(seconds)
