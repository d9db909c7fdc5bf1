"""``python -m trioagent.cli.demo``: the main job once, on the embedded model, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._events import AgentEvent, CodeResult
from ..agent import Agent
from ..models import OFFLINE_RULES
from ..runtime import open_runtime
from ..sandbox import BlockResult
from ._errors import exit_code_of
from ._interrupts import run_interruptible
from ._memory import print_tree
from ._terminal import GlobalOptions, console, prepare_streams
from ._turn_view import TurnView

if TYPE_CHECKING:
    from rich.console import Console

STATEMENTS = (
    "My name is Robin and I live in Lisbon.",
    "My sister Ada works at Northwind Traders.",
    "I am allergic to peanuts.",
)
QUESTION = "Where does my sister work?"

_INTRODUCTION = """\
trioagent demo: an agent writes down what it is told and answers from its notes. The model is offline-rules, which is
a set of rules and not a language model; the notes, the sandbox and the transactions are the real ones."""
_TRY_IT = """\
That folder is gone now. To try it yourself:
  {program} chat --memory notes
  {program} run "Where does my sister work?" --memory notes
  {program} memory tree notes
With a language model: set OPENROUTER_API_KEY, or see `{program} chat --help`.
See it: {program} view --memory notes --model offline-rules"""


def main() -> int:
    prepare_streams()
    return exit_code_of(_demo, GlobalOptions())


def _demo() -> int:
    screen = console()
    screen.print(_INTRODUCTION, style="dim")
    with tempfile.TemporaryDirectory(prefix="trioagent-demo-") as folder:
        notes = Path(folder) / "notes"
        results = run_interruptible(lambda _: _conversations(screen, notes))
        screen.print("\n3. The notes it made: plain markdown", style="bold")
        print_tree(screen, notes, contents=True)
    screen.print(
        f"\n{len(results)} blocks of code ran in sandbox tier {results[0].tier!r}; "
        f"{sum(result.saved for result in results)} changed the notes, each as one transaction."
    )
    screen.print(_TRY_IT.format(program=_program()), style="dim")
    return 0


async def _conversations(screen: Console, notes: Path) -> list[BlockResult]:
    """Tell one agent, ask another one on the same notes; returns the results of the blocks that they ran."""
    results: list[BlockResult] = []
    async with open_runtime(OFFLINE_RULES) as runtime:
        agent = Agent(runtime, memory_path=notes)
        screen.print(f"\n1. Three things to remember, told to an agent with its notes in {notes}", style="bold")
        for message in (*STATEMENTS, QUESTION):
            if message is QUESTION:
                screen.print(
                    "\n2. A question for a new agent on the same notes: it has only these to go by", style="bold"
                )
                agent = Agent(runtime, memory_path=notes)
            screen.print(f"\nyou> {message}")
            show = _shown(screen, results)
            async with agent.stream_chat(message) as events:
                async for event in events:
                    show(event)
    return results


def _shown(screen: Console, results: list[BlockResult]) -> Callable[[AgentEvent], None]:
    """A function for a turn's events: it shows them, and keeps the results of its blocks."""
    view = TurnView(screen)

    def show(event: AgentEvent) -> None:
        view.show(event)
        if isinstance(event, CodeResult):
            results.append(event.result)

    return show


def _program() -> str:
    """The command for the ``trioagent`` of this Python."""
    path = Path(sys.executable).with_name("trioagent")
    if not path.exists():
        return f"{sys.executable} -m trioagent"
    found = shutil.which("trioagent")
    if found is not None and Path(found) == path:
        return "trioagent"
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
