"""openai-agents: one agent object over chat completions, its tools as coroutines in the process, tracing off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import episode
from .harness import AsyncEpisode, run_asyncio

# Imported by name, since the suite's own interpreter has no openai-agents to check types against.
agents = import_module("agents")


async def remember(context: Any, path: str, text: str) -> str:
    """Make a note and read it."""
    return episode.remember(context.context, path, text)


async def list_notes(context: Any) -> list[str]:
    """List the notes."""
    return episode.list_notes(context.context)


# A function's first argument is the context if it is declared so.
for _tool in (remember, list_notes):
    _tool.__annotations__["context"] = agents.RunContextWrapper[Any]


@asynccontextmanager
async def system(base_url: str) -> AsyncIterator[AsyncEpisode]:
    """Runs of one agent, with the folder as their context."""
    agents.set_tracing_disabled(True)  # it would talk to api.openai.com
    async with import_module("openai").AsyncOpenAI(base_url=base_url, api_key="none") as client:
        model = agents.OpenAIChatCompletionsModel(model="loopback", openai_client=client)
        tools = [agents.function_tool(tool) for tool in (remember, list_notes)]
        agent = agents.Agent(name="notes", instructions="You keep notes.", model=model, tools=tools)

        async def run(message: str, folder: Path) -> str:
            return str((await agents.Runner.run(agent, message, context=folder)).final_output)

        yield run


if __name__ == "__main__":
    run_asyncio(system)
