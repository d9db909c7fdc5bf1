"""pydantic-ai: one agent object, its tools as coroutines in the process, one OpenAI client for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import episode
from .harness import AsyncEpisode, run_asyncio

# Imported by name, since the suite's own interpreter has no pydantic-ai to check types against.
pydantic_ai = import_module("pydantic_ai")


async def remember(context: Any, path: str, text: str) -> str:
    """Make a note and read it."""
    return episode.remember(context.deps, path, text)


async def list_notes(context: Any) -> list[str]:
    """List the notes."""
    return episode.list_notes(context.deps)


# A function's first argument must be declared to be the context.
for _tool in (remember, list_notes):
    _tool.__annotations__["context"] = pydantic_ai.RunContext[Path]


@asynccontextmanager
async def system(base_url: str) -> AsyncIterator[AsyncEpisode]:
    """Runs of one agent, with the folder as their dependency."""
    provider = import_module("pydantic_ai.providers.openai").OpenAIProvider(base_url=base_url, api_key="none")
    model = import_module("pydantic_ai.models.openai").OpenAIChatModel("loopback", provider=provider)
    tools = [pydantic_ai.Tool(tool, takes_ctx=True) for tool in (remember, list_notes)]
    agent = pydantic_ai.Agent(model, instructions="You keep notes.", deps_type=Path, tools=tools)

    async def run(message: str, folder: Path) -> str:
        return str((await agent.run(message, deps=folder)).output)

    yield run


if __name__ == "__main__":
    run_asyncio(system)
