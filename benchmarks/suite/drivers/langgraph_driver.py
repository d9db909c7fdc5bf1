"""langgraph: one compiled graph of a model node and a tool node, tools as coroutines in the process, one ChatOpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import episode
from .harness import AsyncEpisode, run_asyncio

# Imported by name, since the suite's own interpreter has no langgraph to check types against.
graphs = import_module("langgraph.graph")
prebuilt = import_module("langgraph.prebuilt")
RunnableConfig = import_module("langchain_core.runnables").RunnableConfig
PROMPT = {"role": "system", "content": "You keep notes."}


async def remember(path: str, text: str, config: Any) -> str:
    """Make a note and read it."""
    return episode.remember(config["configurable"]["folder"], path, text)


async def list_notes(config: Any) -> list[str]:
    """List the notes."""
    return episode.list_notes(config["configurable"]["folder"])


# An argument is filled in, and hidden from the model, if it is declared to be the configuration.
for _tool in (remember, list_notes):
    _tool.__annotations__["config"] = RunnableConfig


@asynccontextmanager
async def system(base_url: str) -> AsyncIterator[AsyncEpisode]:
    """Runs of one graph, with the folder in their configuration."""
    make_tool = import_module("langchain_core.tools").tool
    tools = [make_tool(tool) for tool in (remember, list_notes)]
    chat = import_module("langchain_openai").ChatOpenAI(base_url=base_url, api_key="none", model="loopback")
    bound = chat.bind_tools(tools)

    async def ask(state: Any) -> dict[str, list[Any]]:
        return {"messages": [await bound.ainvoke([PROMPT, *state["messages"]])]}

    builder = graphs.StateGraph(graphs.MessagesState)
    builder.add_node("model", ask)
    builder.add_node("tools", prebuilt.ToolNode(tools))
    builder.add_edge(graphs.START, "model")
    builder.add_conditional_edges("model", prebuilt.tools_condition)
    builder.add_edge("tools", "model")
    graph = builder.compile()

    async def run(message: str, folder: Path) -> str:
        first = {"messages": [{"role": "user", "content": message}]}
        state = await graph.ainvoke(first, {"configurable": {"folder": folder}})
        return str(state["messages"][-1].content)

    yield run


if __name__ == "__main__":
    run_asyncio(system)
