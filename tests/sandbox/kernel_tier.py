"""The tiers that run CPython, for tests that start their processes in another way, or with other bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trioagent._config import SandboxLimits
from trioagent._exceptions import open_helper_nursery
from trioagent.sandbox import Sandbox
from trioagent.sandbox._indexes import IndexBounds
from trioagent.sandbox._kernel import KernelTier
from trioagent.sandbox._zygote import AS_USUAL, ProcessSettings, Zygotes


@asynccontextmanager
async def open_kernel(
    tier: str = "kernel",
    *,
    limits: SandboxLimits = SandboxLimits(),
    index_bounds: IndexBounds = IndexBounds(),
    processes: ProcessSettings = AS_USUAL,
    zygotes: type[Zygotes] = Zygotes,
) -> AsyncIterator[tuple[Sandbox, KernelTier]]:
    executor = KernelTier(limits, tier, await zygotes.start(limits, tier, processes), index_bounds, processes)
    try:
        async with open_helper_nursery() as background:
            executor.use_background(background)
            yield Sandbox(executor, limits), executor
    finally:
        await executor.aclose()
