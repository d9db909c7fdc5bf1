"""The price of the documented API over asyncio: ``python -m benchmarks.compat [part ...]``.

Parts: chat, ten, thousand, cancel (all of them by default).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

import trioagent
from trioagent import ModelConfig, RateLimits, open_runtime
from trioagent.compat import AsyncAgent, run_agents_concurrently, shutdown
from trioagent.testing import ScriptedModel

from ._measure import machine, model_server, own_cpu, table
from .many_agents import _Instant
from .one_agent import EPISODE, answer

Row = tuple[str, str, str]
CHATS, ROUNDS = 200, 7
STUCK = "<think>x</think>\n<python>\nwhile True: pass\n</python>"


def reply_only(messages: int) -> str:
    """An answer without code."""
    return EPISODE[2]


def config(base_url: str) -> ModelConfig:
    return ModelConfig(base_url=base_url, model="loopback", rate=RateLimits(max_in_flight=2000))


def new_agent(folder: Path | str, model: ModelConfig | ScriptedModel) -> AsyncAgent:
    return AsyncAgent(memory_path=folder, model=model, predetermined_memory_path=True)


async def one_chat(chat: Callable[[str], Awaitable[object]], forget: Callable[[], None]) -> float:
    """Median ms of a chat, each in a conversation that has just begun."""
    walls = []
    for _ in range(CHATS):
        began = time.perf_counter()
        await chat("Hello")
        walls.append(time.perf_counter() - began)
        forget()
    return statistics.median(walls) * 1e3


async def chat_on_trio(folder: str) -> float:
    async with open_runtime(model=_Instant()) as runtime:
        agent = trioagent.Agent(runtime, memory_path=folder)
        first = list(agent.messages)
        return await one_chat(agent.chat, lambda: setattr(agent, "messages", list(first)))


async def chat_on_asyncio(folder: str) -> float:
    agent = new_agent(folder, _Instant())
    first = list(agent.messages)
    return await one_chat(agent.chat, lambda: setattr(agent, "messages", list(first)))


def measure_chat() -> Iterator[Row]:
    """Rounds of both in turn: what other programs do to the machine hits both."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(chat_on_asyncio(folder))
        rounds = [(trio.run(chat_on_trio, folder), asyncio.run(chat_on_asyncio(folder))) for _ in range(ROUNDS)]
    native, compat = (statistics.median(column) for column in zip(*rounds, strict=True))
    yield "a chat without a block, Trio-native, median wall", f"{native:.3f} ms", ""
    yield "the same through AsyncAgent, median wall", f"{compat:.3f} ms", ""
    yield "what the bridge adds to a chat", f"{statistics.median(b - a for a, b in rounds):.3f} ms", "0.1 ms"


async def together(count: int, base_url: str, *, gather: bool) -> tuple[float, float]:
    """Wall seconds, and CPU ms of this process for each of *count* asyncio agents at once."""
    with tempfile.TemporaryDirectory() as folder:
        model = config(base_url)
        await run_agents_concurrently(
            [new_agent(f"{folder}/warm{n}", model) for n in range(min(count, 20))], ["Hi"] * min(count, 20)
        )
        agents = [new_agent(f"{folder}/{n}", model) for n in range(count)]
        gc.collect()
        began, cpu = time.perf_counter(), own_cpu()
        if gather:
            await asyncio.gather(*(agent.chat("I work at Acme.") for agent in agents))
        else:
            await run_agents_concurrently(agents, ["I work at Acme."] * count)
        return time.perf_counter() - began, (own_cpu() - cpu) / count * 1e3


def measure_ten() -> Iterator[Row]:
    with model_server(1.0, reply_only) as base_url:
        wall, _ = asyncio.run(together(10, base_url, gather=False))
        yield "10 agents, run_agents_concurrently, model at 1.0 s: wall", f"{wall:.3f} s", "1.050 s"
    with model_server(1.0, answer) as base_url:
        wall, _ = asyncio.run(together(10, base_url, gather=False))
        yield "the same, 3 turns at 1.0 s and 2 blocks: wall", f"{wall:.3f} s", "3.150 s"


async def together_on_trio(count: int, base_url: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_runtime(model=config(base_url)) as runtime:
            warm = [trioagent.Agent(runtime, memory_path=f"{folder}/warm{n}") for n in range(20)]
            await trioagent.run_agents(warm, ["Hi"] * 20)
            agents = [trioagent.Agent(runtime, memory_path=f"{folder}/{n}") for n in range(count)]
            gc.collect()
            began, cpu = time.perf_counter(), own_cpu()
            await trioagent.run_agents(agents, ["I work at Acme."] * count)
            return time.perf_counter() - began, (own_cpu() - cpu) / count * 1e3


def measure_thousand() -> Iterator[Row]:
    for kind, script, rounds in (("1 turn at 1.0 s", reply_only, 3), ("3 turns at 1.0 s, 2 blocks", answer, 1)):
        native: list[tuple[float, float]] = []
        compat: list[tuple[float, float]] = []
        with model_server(1.0, script) as base_url:
            for _ in range(rounds):
                native.append(trio.run(together_on_trio, 1000, base_url))
                compat.append(asyncio.run(together(1000, base_url, gather=True)))
        walls = statistics.median(wall for wall, _ in native), statistics.median(wall for wall, _ in compat)
        cpus = statistics.median(cpu for _, cpu in native), statistics.median(cpu for _, cpu in compat)
        yield f"1000 agents, {kind}, Trio-native: wall", f"{walls[0]:.2f} s", ""
        yield f"1000 agents, {kind}, asyncio tasks: wall", f"{walls[1]:.2f} s", ""
        yield "against Trio-native", f"{walls[1] / walls[0]:.2f} x", "1.30 x"
        yield "CPU an agent, this process, Trio-native and asyncio", f"{cpus[0]:.2f}, {cpus[1]:.2f} ms", ""


def measure_cancel() -> Iterator[Row]:
    """From ``task.cancel()`` to control back: then the child is dead and everything closed."""

    async def cancel(agent: AsyncAgent, after: float) -> float:
        task = asyncio.create_task(agent.chat("Go"))
        await asyncio.sleep(after)
        began = time.perf_counter()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return (time.perf_counter() - began) * 1e3

    async def in_blocks(folder: str) -> list[float]:
        return [await cancel(new_agent(f"{folder}/{n}", ScriptedModel([STUCK])), 0.2) for n in range(50)]

    async def in_model(folder: str, base_url: str) -> list[float]:
        return [await cancel(new_agent(f"{folder}/m{n}", config(base_url)), 0.05) for n in range(50)]

    with tempfile.TemporaryDirectory() as folder, model_server(60.0, reply_only) as base_url:
        for where, walls in (
            ("in a block", asyncio.run(in_blocks(folder))),
            ("waiting for the model", asyncio.run(in_model(folder, base_url))),
        ):
            yield f"cancel to clean, {where}: median", f"{statistics.median(walls):.1f} ms", ""
            yield f"cancel to clean, {where}: worst of {len(walls)}", f"{max(walls):.1f} ms", "50 ms"


PARTS = {"chat": measure_chat, "ten": measure_ten, "thousand": measure_thousand, "cancel": measure_cancel}


def main(names: list[str]) -> None:
    print(machine())
    try:
        table(itertools.chain.from_iterable(PARTS[name]() for name in names or list(PARTS)))
    finally:
        shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
