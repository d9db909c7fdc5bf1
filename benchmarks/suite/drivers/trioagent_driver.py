"""trioagent as it is by default: every block in a confined child of its own, all of its notes in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from trioagent import Agent, ModelConfig, RateLimits, open_runtime

from ..episode import TURNS
from .harness import ABOUT, AsyncEpisode, order_variant, run_trio


@asynccontextmanager
async def system(base_url: str) -> AsyncIterator[AsyncEpisode]:
    """Agents of one runtime.

    In the variant "answers" the episode is three chats that are answered at once: what the model's side costs alone.
    """
    rate = RateLimits(max_in_flight=10_000, max_idle=10_000)
    async with open_runtime(model=ModelConfig(base_url=base_url, model="loopback", rate=rate)) as runtime:
        ABOUT["sandbox"] = runtime.sandbox.tier

        async def episode(message: str, folder: Path) -> str:
            return (await Agent(runtime, memory_path=folder).chat(message)).reply

        async def answers_only(message: str, folder: Path) -> str:
            agent = Agent(runtime, memory_path=folder)
            for _ in range(TURNS - 1):
                await agent.chat(message)
            return (await agent.chat(message)).reply

        yield answers_only if order_variant() == "answers" else episode


if __name__ == "__main__":
    run_trio(system)
