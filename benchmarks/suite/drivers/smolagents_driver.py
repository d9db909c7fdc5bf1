"""smolagents: an agent object for each run, which it is made for, in a thread each, over one OpenAI client.

By default its tool-calling agent; in the variant "code" the one that writes code, which its own interpreter of Python
runs in the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import episode
from .harness import Episode, order_variant, run_threads

# Imported by name, since the suite's own interpreter has no smolagents to check types against.
smolagents = import_module("smolagents")

_PATH = {"path": {"type": "string", "description": "where"}, "text": {"type": "string", "description": "what"}}


def _tools(folder: Path) -> list[Any]:
    def remember(self: object, path: str, text: str) -> str:
        return episode.remember(folder, path, text)

    def list_notes(self: object) -> str:
        return repr(episode.list_notes(folder))

    return [
        _tool("remember", "Make a note and read it.", _PATH, remember),
        _tool("list_notes", "List the notes.", {}, list_notes),
    ]


def _tool(name: str, description: str, inputs: dict[str, Any], forward: Any) -> Any:
    fields = {"name": name, "description": description, "inputs": inputs, "output_type": "string", "forward": forward}
    return type(name, (smolagents.Tool,), {**fields, "skip_forward_signature_validation": True})()


@contextmanager
def system(base_url: str) -> Iterator[Episode]:
    """Agents that share a model."""
    model = smolagents.OpenAIModel("loopback", api_base=base_url, api_key="none")
    kind = smolagents.CodeAgent if order_variant() == "code" else smolagents.ToolCallingAgent

    def run(message: str, folder: Path) -> str:
        agent = kind(tools=_tools(folder), model=model, verbosity_level=smolagents.LogLevel.OFF)
        return str(agent.run(message))

    yield run


if __name__ == "__main__":
    run_threads(system)
