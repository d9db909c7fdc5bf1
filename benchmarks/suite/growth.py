"""How costs grow: ``python -m benchmarks growth [notes] [history] [agents] [jobs] [changes] [--most N]``.

Notes in a memory (10 to 10,000), turns of a conversation (1 to 200), agents at once (1 to 5000), jobs of a batch (10 to
100,000), and of one whose jobs change a note (10 to 1000). Each figure is printed with its exponent over the number: 0
is flat, 1 linear. A fixed cost hides growth at small numbers, so the exponent between the last two is there too.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio
from rich.console import Console
from rich.table import Table

from trioagent import Agent, BatchConfig, ChatMessage, Job, ModelConfig, open_runtime, open_sandbox, run_batch
from trioagent.sandbox._indexes import WORTH
from trioagent.testing import ScriptedModel

from ..many_agents import _Instant as Instant
from ..one_agent import KINDS, make_memory
from .environments import cache_folder
from .episode import answers
from .fit import Points, exponent, last_exponent
from .processes import children_cpu, own_cpu, peak_rss
from .report import facts, wide_console
from .runs import run, write_json
from .server import ROOT, environment, running_server
from .systems import by_name

Series = dict[str, list[tuple[float, float]]]
"""Points by figure, whose name has its unit."""

_ADDS = """<think>x</think>
<python>
acme = read_file("acme.md")
with open("acme.md", "w") as file:
    file.write(acme[:2000] + f"- asked {len(acme)}\\n")
</python>"""
_BLOCKS = 100
_CHATS = 30
_MIB = 2**20
_TIMED = "import time\nbegan = time.perf_counter()\nfound = {call}\nms = (time.perf_counter() - began) * 1e3\n"
_CALLS = {
    "search for a word of one note": 'search("{last}")',
    "search for a word of all notes": 'search("number")',
    "go_to_link, the note's name": 'go_to_link("[[note_{last}]]")',
    "go_to_link, a note that is not there": 'go_to_link("[[no_such_note]]")',
    "backlinks, of a note with one": 'backlinks("entities/acme.md")',
}
_HAS_INDEX = "has = search.__self__._index.usable"


def notes(sizes: Sequence[int]) -> Series:
    """A block's cost, and what a search and a link take in it, over the notes of the memory."""
    series: Series = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            memory = make_memory(Path(folder) / "memory", max(size, 3))
            for name, value in trio.run(_in_memory, memory, size).items():
                series.setdefault(name, []).append((size, value))
    return series


async def _in_memory(memory: Path, size: int) -> dict[str, float]:
    found = {}
    async with open_sandbox() as sandbox:

        async def block(code: str) -> Mapping[str, str]:
            result = await sandbox.run(code, memory_path=memory)
            assert result.error == "", result.error
            return result.locals

        for kind, code in KINDS.items():
            walls, cpu = [], 0.0
            for number in range(-10, _BLOCKS):
                if number == 0:
                    cpu = own_cpu() + children_cpu()
                began = time.perf_counter()
                await block(code.format(number=number % 5))  # so that what is made does not add up
                walls.append(time.perf_counter() - began)
            found[f"a block {kind}: CPU, ms"] = (own_cpu() + children_cpu() - cpu) / _BLOCKS * 1e3
            found[f"a block {kind}: median wall, ms"] = statistics.median(walls[10:]) * 1e3
        began = time.perf_counter()
        first = _TIMED.format(call='search("number")')
        found["the first search, without an index: in the block, ms"] = float((await block(first))["ms"])
        while size >= WORTH and (await block(_HAS_INDEX))["has"] != "True":  # noqa: ASYNC110  # seen from blocks only
            await trio.sleep(0.01)
        found["from the first search to its end, or to an index: ms"] = (time.perf_counter() - began) * 1e3
        for name, call in _CALLS.items():
            code = _TIMED.format(call=call.format(last=max(size, 3) - 3))
            times = [float((await block(code))["ms"]) for _ in range(11)]
            found[f"{name}: median in the block, ms"] = statistics.median(times)
    return found


def history(sizes: Sequence[int]) -> Series:
    """A chat's cost over the turns that the conversation has already; the model answers at once, over HTTP."""
    series: Series = {}
    with running_server() as server:
        config = ModelConfig(base_url=f"{server}/reply/0.0/v1", model="loopback")
        for size in sizes:
            for name, value in trio.run(_after_turns, config, size).items():
                series.setdefault(name, []).append((size, value))
    return series


async def _after_turns(config: ModelConfig, turns: int) -> dict[str, float]:
    said = ChatMessage("user", "I live in London. " * 20)
    answered = ChatMessage("assistant", answers("reply")[0]["content"])
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_runtime(model=config) as runtime:
            agent = Agent(runtime, memory_path=Path(folder) / "memory")
            past = [*agent.messages, *([said, answered] * turns)]
            for number in range(-5, _CHATS):
                if number == 0:
                    cpu = own_cpu()
                agent.messages = list(past)
                began = time.perf_counter()
                await agent.chat(said.content)
                walls.append(time.perf_counter() - began)
            cpu = own_cpu() - cpu
    return {"a chat: CPU, ms": cpu / _CHATS * 1e3, "a chat: median wall, ms": statistics.median(walls[5:]) * 1e3}


def agents(sizes: Sequence[int]) -> Series:
    """An episode's cost over the agents at once; the model takes a second for an answer."""
    series: Series = {}
    for size in sizes:
        with running_server() as server:
            done = run(by_name("trioagent"), size, server=server, latency=1.0, limit=1200.0)
        if done["status"] != "ok" or done["errors"]:
            raise RuntimeError(f"{size} agents: {done.get('reason') or done['errors']}")
        series.setdefault("CPU an episode, ms", []).append((size, done["cpu_ms"]))
        series.setdefault("wall, s", []).append((size, done["wall_s"]))
        series.setdefault("peak RSS, MiB", []).append((size, done["rss_peak_mib"]))
        series.setdefault("RSS an agent, KiB", []).append((size, done["rss_per_agent_kib"]))
    return series


def jobs(sizes: Sequence[int]) -> Series:
    """A batch's cost over its jobs, each one chat without code with a model that takes no time, journaled."""
    return _batches(sizes, "--one-batch")


def changes(sizes: Sequence[int]) -> Series:
    """The same of jobs with a block that adds a line to a note of some 2 kB."""
    return _batches(sizes, "--one-changing-batch")


def _batches(sizes: Sequence[int], option: str) -> Series:
    series: Series = {}
    for size in sizes:
        # A process each, since the most memory that a process ever had cannot be undone by a smaller run after it.
        command = [sys.executable, "-m", "benchmarks.suite.growth", "jobs", option, str(size)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, env=environment(), cwd=ROOT, check=True)
        for name, value in json.loads(ended.stdout).items():
            series.setdefault(name, []).append((size, value))
    return series


def _noting(messages: Sequence[ChatMessage]) -> str:
    """An answer that adds a line to a note, and then a reply."""
    return _ADDS if messages[-1].role == "user" else answers("reply")[0]["content"]


def _prose(seed: int) -> str:
    """A note of 2 kB that can be compressed about as well as what people write: to half."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("aaeeeiionnnrrsstttlldcmup", k=chance.randint(2, 9))) for _ in range(200)]
    lines = "\n".join("- " + " ".join(chance.choices(words, k=10)) for _ in range(40))
    return f"# Acme\n{lines[:1990]}\n"


async def _batch(count: int, model: ScriptedModel) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(100):
            memory = Path(folder) / f"m{number}"
            memory.mkdir()
            (memory / "acme.md").write_text(_prose(number))

        def lazily() -> Iterator[Job]:
            for number in range(count):
                yield Job(id=f"job-{number}", memory=f"{folder}/m{number % 100}", messages=("I work at Acme.",))

        async with open_runtime(model=model) as runtime:
            gc.collect()
            cpu, began = own_cpu(), time.perf_counter()
            run_dir = Path(folder) / "run"
            report = await run_batch(lazily(), runtime=runtime, run_dir=run_dir, config=BatchConfig(max_concurrent=100))
            assert report.done == count, report
            wall, cpu = time.perf_counter() - began, own_cpu() - cpu
        size = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    return {
        "CPU a job, ms": cpu / count * 1e3,
        "wall a job, ms": wall / count * 1e3,
        "peak RSS, MiB": peak_rss() / _MIB,
        "run directory a job, bytes": size / count,
    }


@attrs.frozen
class Part:
    """One of them, and its numbers."""

    measure: Callable[[Sequence[int]], Series]
    sizes: Sequence[int]


PARTS = {
    "notes": Part(notes, [10, 100, 1000, 10_000]),
    "history": Part(history, [1, 2, 5, 10, 20, 50, 100, 200]),
    "agents": Part(agents, [1, 10, 100, 1000, 5000]),
    "jobs": Part(jobs, [10, 100, 1000, 10_000, 100_000]),
    "changes": Part(changes, [10, 100, 1000]),
}


def _positive(points: Points) -> Points:
    """The points that have logarithms; a difference of two readings may be 0."""
    return [(x, y) for x, y in points if y > 0]


def _fits(points: Points) -> bool:
    return len(_positive(points)) > 1


def show(console: Console, name: str, series: Series) -> None:
    """A part's figures with their exponents."""
    sizes = [size for size, _ in next(iter(series.values()))]
    table = Table(title=f"over {name}")
    table.add_column("figure")
    for title in (*(f"{size:,.0f}" for size in sizes), "exponent", "at the end"):
        table.add_column(title, justify="right")
    for figure, points in series.items():
        fits = [f"{grows(_positive(points)):.2f}" for grows in (exponent, last_exponent)] if _fits(points) else ["", ""]
        table.add_row(figure, *(f"{value:.3g}" if value < 1000 else f"{value:.0f}" for _, value in points), *fits)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts that are named, print them, and write ``growth.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help=f"some of {' '.join(PARTS)}; all by default")
    parser.add_argument("--most", type=int, default=100_000, help="leave larger numbers out")
    parser.add_argument("--out", type=Path, help="folder for growth.json")
    parser.add_argument("--one-batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one-changing-batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one_batch:
        print(json.dumps(trio.run(_batch, options.one_batch, Instant())))
        return
    if options.one_changing_batch:
        print(json.dumps(trio.run(_batch, options.one_changing_batch, ScriptedModel(_noting, chunk=1000))))
        return
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    console, document = wide_console(), dict[str, Any](facts())
    for name in options.parts or PARTS:
        series = PARTS[name].measure([size for size in PARTS[name].sizes if size <= options.most])
        show(console, name, series)
        fits = {figure: exponent(_positive(points)) for figure, points in series.items() if _fits(points)}
        document[name] = {"points": series, "exponents": fits}
    write_json((options.out or cache_folder("results")) / "growth.json", document)


if __name__ == "__main__":
    main()
