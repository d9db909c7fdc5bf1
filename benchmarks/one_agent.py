"""The cost of one agent: a block, an idle agent, the import, chats at once. ``python -m benchmarks.one_agent``."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from trioagent import Agent, ModelConfig, SandboxLimits, open_runtime, open_sandbox
from trioagent.testing import ScriptedModel

from ._measure import bare_fork, machine, model_server, rss, table, tree_cpu

BLOCKS = 300
LOOK = """
user = read_file("user.md")
acme = go_to_link("[[entities/acme]]")
known = check_if_file_exists("entities/ada.md")
"""
BLOCK = """
create_file("entities/made_{number}.md", "# Acme\\n- type: company\\n- number: {number}\\n")
user = read_file("user.md")
made = read_file("entities/made_{number}.md")
"""
CHANGE = """
create_file("entities/acme.md", "# Acme\\n- type: company\\n- number: {number}\\n")
acme = read_file("entities/acme.md")
"""
KINDS = {"that reads": LOOK, "that makes a note": BLOCK, "that overwrites a note": CHANGE}
EPISODE = [
    "<think>look</think>\n<python>\n" + BLOCK.format(number=1) + "</python>",
    "<think>list</think>\n<python>\nfiles = list_files()\n</python>",
    "<think>done</think>\n<python></python>\n<reply>Noted.</reply>",
]


def answer(messages: int) -> str:
    """The episode's next answer; a request holds system, user, then two messages for each turn."""
    return EPISODE[(messages - 2) // 2]


def make_memory(folder: Path, notes: int) -> Path:
    (folder / "entities").mkdir(parents=True)
    (folder / "user.md").write_text("# Ada\n- city: London\n- employer: [[entities/acme]]\n")
    (folder / "entities" / "acme.md").write_text("# Acme\n- type: company\n")
    for number in range(notes - 2):
        (folder / "entities" / f"note_{number}.md").write_text(f"# Note {number}\n- number: {number}\n")
    return folder


async def blocks(
    notes: int,
    kind: str,
    *,
    tier: str | None = None,
    limits: SandboxLimits | None = None,
    count: int = BLOCKS,
    make: Callable[[Path, int], Path] = make_memory,
) -> tuple[float, float]:
    """CPU ms (host, sandbox and children together) and median wall ms of one block over a memory of *notes* notes.

    Args:
        kind: one of `KINDS`, or a block's code.
        make: makes the memory.
    """
    code = KINDS.get(kind, kind)
    with tempfile.TemporaryDirectory() as folder:
        memory = make(Path(folder) / "memory", notes)
        async with open_sandbox(tier, limits=limits or SandboxLimits()) as sandbox:
            for number in range(20):
                assert (await sandbox.run(code.format(number=-number), memory_path=memory)).error == ""
            walls, cpu = [], tree_cpu()
            for number in range(count):
                began = time.perf_counter()
                result = await sandbox.run(code.format(number=number), memory_path=memory)
                walls.append(time.perf_counter() - began)
                assert result.error == ""
            return (tree_cpu() - cpu) / count * 1e3, statistics.median(walls) * 1e3


async def in_flight(count: int) -> float:
    """Blocks a second with *count* at once, each with its own memory."""
    with tempfile.TemporaryDirectory() as folder:
        memories = [make_memory(Path(folder) / str(number), 10) for number in range(count)]
        async with open_sandbox(limits=SandboxLimits(parallel=count)) as sandbox:

            async def run(memory: Path) -> None:
                for number in range(BLOCKS // count):
                    await sandbox.run(BLOCK.format(number=number), memory_path=memory)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for memory in memories:
                    nursery.start_soon(run, memory)
            return BLOCKS // count * count / (time.perf_counter() - began)


async def idle_agent() -> float:
    """KiB of an agent that has had one chat of three turns."""
    count = 1000
    with tempfile.TemporaryDirectory() as folder:
        async with open_runtime(model=ScriptedModel(lambda messages: EPISODE[2])) as runtime:
            warm = [Agent(runtime, memory_path=Path(folder) / "warm") for _ in range(100)]
            for agent in warm:
                await agent.chat("Hello")
            gc.collect()
            before = rss()
            agents = [Agent(runtime, memory_path=Path(folder) / str(number)) for number in range(count)]
            for agent in agents:
                await agent.chat("I live in London. " * 20)
            gc.collect()
            return (rss() - before) / count / 1024


def import_seconds() -> float:
    """Median wall seconds of ``import trioagent`` beyond starting Python."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(run("import trioagent") - run("pass") for _ in range(9))


async def chats(count: int, base_url: str) -> float:
    """Wall seconds of *count* episodes of three turns and two blocks at once."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_runtime(model=ModelConfig(base_url=base_url, model="loopback")) as runtime:
            agents = [Agent(runtime, memory_path=make_memory(Path(folder) / str(n), 10)) for n in range(count)]
            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for agent in agents:
                    nursery.start_soon(agent.chat, "I work at Acme.")
            return time.perf_counter() - began


def main() -> None:
    print(machine())
    # First, while this process is small: what others have freed would hide it.
    rows = [("an idle agent after a chat", f"{trio.run(idle_agent):.1f} KiB", "60 KiB")]
    rows.append(("for scale: fork and wait, bare Python, median wall", f"{bare_fork():.2f} ms", ""))
    for kind in KINDS:
        cost = {}
        for notes in (10, 10_000):
            cpu, wall = cost[notes] = trio.run(blocks, notes, kind)
            rows.append((f"a block {kind}, CPU, {notes:,} notes", f"{cpu:.2f} ms", "5 ms"))
            rows.append((f"a block {kind}, median wall, {notes:,} notes", f"{wall:.2f} ms", "6 ms"))
        rows.append(
            (f"a block {kind}, wall, 10,000 notes against 10", f"{cost[10_000][1] / cost[10][1]:.2f} x", "1.5 x")
        )
    rows.append(("blocks a second, 8 at once", f"{trio.run(in_flight, 8):.0f}", ""))
    rows.append(("import trioagent", f"{import_seconds():.3f} s", "0.35 s"))
    with model_server(0.2, answer) as base_url:
        trio.run(chats, 1, base_url)
        one, twenty = trio.run(chats, 1, base_url), trio.run(chats, 20, base_url)
    rows.append(("one chat, 3 turns at 200 ms and 2 blocks", f"{one:.3f} s", "0.600 s ideal"))
    rows.append(("20 such chats at once, against one", f"{twenty / one:.2f} x", "1.3 x"))
    table(rows)


if __name__ == "__main__":
    main()
