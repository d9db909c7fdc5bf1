"""The runtimes of the bridge: one sandbox shared by all, one model per configuration, opened on first use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from .._config import ModelConfig
from .._exceptions import open_helper_nursery
from .._network import NetworkConfig
from ..models import OFFLINE_RULES, Model, OfflineRules
from ..runtime import Runtime, open_runtime

Settings = ModelConfig | OfflineRules


class _Runtimes:
    def __init__(self, holders: trio.Nursery, stack: AsyncExitStack) -> None:
        self._holders, self._stack = holders, stack
        self._open: dict[Settings, Runtime] = {}
        self._opening = trio.Lock()

    async def get(self, settings: Settings) -> Runtime:
        if settings not in self._open:
            async with self._opening:
                if settings not in self._open:
                    self._open[settings] = await self._add(settings)
        return self._open[settings]

    async def any(self) -> Runtime:
        """One that is open, whatever its model."""
        return next(iter(self._open.values()), None) or await self.get(OfflineRules())

    async def _add(self, settings: Settings) -> Runtime:
        if not self._open:
            runtime: Runtime = await self._holders.start(_hold, settings)
            return runtime
        first = next(iter(self._open.values()))
        if isinstance(settings, OfflineRules):
            model = await self._stack.enter_async_context(first.open_model(OFFLINE_RULES))
            return attrs.evolve(first, model=model, config=None)
        from ..models import open_model  # brings httpx, 100 ms

        model = await self._stack.enter_async_context(
            open_model(settings, endpoints=first.endpoints, network=first.network)
        )
        return attrs.evolve(first, model=model, config=settings)


async def _hold(settings: Settings, *, task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep a runtime open. It has a nursery of its own, so one task enters and leaves it, whoever asked for it."""
    async with open_runtime(
        OFFLINE_RULES if isinstance(settings, OfflineRules) else settings, network=NetworkConfig.from_env(os.environ)
    ) as runtime:
        task_status.started(runtime)
        await trio.sleep_forever()


_current: trio.lowlevel.RunVar[_Runtimes] = trio.lowlevel.RunVar("trioagent.compat runtimes")


@asynccontextmanager
async def open_runtimes() -> AsyncIterator[None]:
    """Make `runtime_for` work in this Trio run; all that it opened is closed in the end."""
    async with open_helper_nursery() as holders, AsyncExitStack() as stack:
        _current.set(_Runtimes(holders, stack))
        yield


async def runtime_for(choice: Settings | Model) -> Runtime:
    """A runtime of this run with the model that is chosen. All of them share one sandbox.

    Cancelling while it opens leaves nothing behind; whoever asks next opens it.

    Raises:
        SandboxUnavailableError: no sandbox tier works here.
    """
    runtimes = _current.get()
    if isinstance(choice, ModelConfig | OfflineRules):
        return await runtimes.get(OfflineRules() if isinstance(choice, OfflineRules) else choice)
    return attrs.evolve(await runtimes.any(), model=choice, config=None)
