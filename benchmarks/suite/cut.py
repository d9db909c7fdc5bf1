"""What stopping at the closing tag saves on a server that keeps talking: ``python -m benchmarks cut [--agents 10]``.

The server writes a hundred tokens a second and, after each answer's last tag, goes on for hundreds more, as a model
without a stop sequence does. The same agents read it as a stream, which they close at the tag, and as whole answers.
A third run, on a server that ends where the answer ends, shows that its connections are used again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import trio
from rich.table import Table

from trioagent import Agent, ModelConfig, open_runtime

from .episode import REPLY, TURNS, message
from .load import get_json
from .report import wide_console
from .server import running_server


@attrs.frozen
class Cut:
    """One run's figures. Connections that a client drops in an answer's middle are counted by the server as cut."""

    name: str
    wall: float
    tokens: int
    answers: int
    cut: int
    connections: int
    open_after: int
    wrong_replies: int


async def _episodes(config: ModelConfig, agents: int, folder: str) -> tuple[float, int]:
    """Wall seconds, and how many replies were not the expected one."""
    wrong = 0

    async def one(number: int) -> None:
        nonlocal wrong
        response = await Agent(runtime, memory_path=Path(folder) / str(number)).chat(message(number))
        # A connection with another answer's rest in it would show here.
        wrong += response.reply.strip() != REPLY or response.turns != TURNS

    async with open_runtime(model=config) as runtime:
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for number in range(agents):
                nursery.start_soon(one, number)
        return time.perf_counter() - began, wrong


def measure(name: str, server: str, style: str, agents: int, *, stream: bool) -> Cut:
    """Run the episode of so many agents at once, and ask the server what it saw."""
    config = ModelConfig(base_url=f"{server}/{style}/0.0/v1", model="loopback", stream=stream)
    before = get_json(f"{server}/stats")
    with tempfile.TemporaryDirectory() as folder:
        wall, wrong = trio.run(_episodes, config, agents, folder)
    after = get_json(f"{server}/stats")
    grown: dict[str, Any] = {key: after[key] - before[key] for key in after}
    return Cut(
        name,
        wall,
        grown["tokens_sent"] - 1,  # one is the page of counts
        grown["requests"],
        grown["answers_cut_by_client"],
        grown["connections_accepted"] - 1,
        after["connections_open"] - 1,
        wrong,
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure the three runs and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cut", description=__doc__)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--more", type=int, default=300, help="tokens after the last tag (default: 300)")
    options = parser.parse_args(arguments)
    talks = f"talk{options.more}"
    with running_server() as server:
        _show(
            [
                measure("keeps talking, stream stopped at the tag", server, talks, options.agents, stream=True),
                measure("keeps talking, whole answers read", server, talks, options.agents, stream=False),
                measure("ends by itself, stream", server, "talk0", options.agents, stream=True),
            ],
            options.agents,
        )


def _show(rows: Sequence[Cut], agents: int) -> None:
    table = Table(title=f"{agents} agents, {TURNS} answers each, a server of 100 tokens a second")
    table.add_column("run")
    for name in ("wall s", "tokens", "answers", "cut", "connections", "open after", "wrong replies"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, f"{row.wall:.2f}", *map(str, attrs.astuple(row)[2:]))
    console = wide_console()
    console.print(table)
    stopped, whole = rows[:2]
    console.print(
        f"saved: {1 - stopped.tokens / whole.tokens:.0%} of the tokens ({(whole.tokens - stopped.tokens) / agents:.0f} "
        f"an episode), {whole.wall - stopped.wall:.1f} of {whole.wall:.1f} s"
    )


if __name__ == "__main__":
    main()
