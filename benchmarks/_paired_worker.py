"""The process that measures one checkout for `paired`: reads how often to do a piece of work, says what it cost.

It knows nothing of the checkout but its public API, which all that are compared have.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
import trio

import trioagent
from trioagent import (
    Agent,
    BatchConfig,
    ChatMessage,
    Job,
    ModelConfig,
    Runtime,
    SandboxLimits,
    open_runtime,
    open_sandbox,
    run_batch,
)
from trioagent.testing import ScriptedModel

from ._measure import tree_cpu, tree_faults
from .one_agent import BLOCK, CHANGE, EPISODE, LOOK, make_memory

Work = Callable[[int], Awaitable[None]]  # does a piece of work so often
Opened = Callable[[Path, str], AbstractAsyncContextManager[Work]]  # in a folder, with the address of a model server
NOTES = 10
TOGETHER = 8
# It has read what it replaces: what nobody has read is not written over.
REPLACED = """<think>x</think>
<python>
acme = read_file("entities/acme.md")
create_file("entities/acme.md", acme + "- asked again\\n")
</python>"""


@attrs.frozen
class Figure:
    """What is measured.

    Attributes:
        what: a piece of work, for readers.
        count: pieces in one turn, so that it takes some tenths of a second.
        by: wall time, the CPU time of all processes ("tree", read in ticks of 10 ms) or that of this one ("cpu").
    """

    name: str
    what: str
    count: int
    by: Literal["wall", "cpu", "tree"]
    opened: Opened


@asynccontextmanager
async def blocks(folder: Path, base_url: str, *, code: str, tier: str) -> AsyncIterator[Work]:
    memory = make_memory(folder / "memory", NOTES)
    async with open_sandbox(tier) as sandbox:
        done = 0

        async def work(count: int) -> None:
            nonlocal done
            for _ in range(count):
                done += 1
                result = await sandbox.run(code.format(number=done % 200), memory_path=memory)
                assert result.error == "", result.error

        yield work


@asynccontextmanager
async def blocks_at_once(folder: Path, base_url: str) -> AsyncIterator[Work]:
    memories = [make_memory(folder / str(number), NOTES) for number in range(TOGETHER)]
    async with open_sandbox("kernel", limits=SandboxLimits(parallel=TOGETHER)) as sandbox:

        async def run(memory: Path, count: int) -> None:
            for number in range(count):
                result = await sandbox.run(BLOCK.format(number=number), memory_path=memory)
                assert result.error == "", result.error

        async def work(count: int) -> None:
            async with trio.open_nursery() as nursery:
                for memory in memories:
                    nursery.start_soon(run, memory, count // TOGETHER)

        yield work


@asynccontextmanager
async def starts(folder: Path, base_url: str) -> AsyncIterator[Work]:
    async def work(count: int) -> None:
        for _ in range(count):
            async with open_sandbox("kernel"):
                pass

    yield work


class Script(ScriptedModel):
    """Answers as often as wanted, and keeps nothing of what it was asked."""

    def __init__(self, answers: Sequence[str]) -> None:
        super().__init__(self._next, chunk=1000)
        self._texts = answers

    def _next(self, messages: Sequence[ChatMessage]) -> str:
        self.calls.clear()
        asked = sum(message.role == "assistant" for message in messages)
        return self._texts[asked % len(self._texts)]


@asynccontextmanager
async def runtime_with(answers: Sequence[str]) -> AsyncIterator[Runtime]:
    async with open_runtime(model=Script(answers), tier="kernel") as runtime:
        yield runtime


async def chat_once(agent: Agent) -> None:
    await agent.chat("I work at Acme.")


async def stream_once(agent: Agent) -> None:
    async with agent.stream_chat("I work at Acme.") as events:
        async for _ in events:
            pass


@asynccontextmanager
async def chats(folder: Path, base_url: str, *, once: Callable[[Agent], Awaitable[None]]) -> AsyncIterator[Work]:
    memory = make_memory(folder / "memory", NOTES)
    async with runtime_with(EPISODE[2:]) as runtime:

        async def work(count: int) -> None:
            for _ in range(count):
                await once(Agent(runtime, memory_path=memory))

        yield work


@asynccontextmanager
async def requests(folder: Path, base_url: str) -> AsyncIterator[Work]:
    """Answers of a model server on the loopback interface."""
    config = ModelConfig(base_url=base_url, model="loopback")
    async with open_runtime(model=config, tier="kernel") as runtime:
        asked = [ChatMessage("system", "You keep notes. " * 250), ChatMessage("user", "I work at Acme.")]

        async def work(count: int) -> None:
            for _ in range(count):
                async with runtime.model.answer(asked) as parts:
                    async for _ in parts:
                        pass

        yield work


@asynccontextmanager
async def journaled(folder: Path, base_url: str, *, answers: Sequence[str], messages: int = 1) -> AsyncIterator[Work]:
    """The jobs of one batch after the other, each in a run directory of its own; pieces are messages of jobs."""
    memories = [make_memory(folder / f"memory-{number}", NOTES) for number in range(TOGETHER)]
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(runtime_with(answers))
        runs = 0

        async def work(count: int) -> None:
            nonlocal runs
            runs += 1
            for memory in memories:
                (memory / "entities" / "acme.md").write_text("# Acme\n- type: company\n")
            said = ("I work at Acme.",) * messages
            jobs = [
                Job(id=f"job-{number}", memory=str(memories[number % TOGETHER]), messages=said)
                for number in range(count // messages)
            ]
            report = await run_batch(
                jobs, runtime=runtime, run_dir=folder / f"run-{runs}", config=BatchConfig(max_concurrent=TOGETHER)
            )
            assert report.done == len(jobs), report

        yield work


_KINDS = {"reads": LOOK, "makes": BLOCK, "overwrites": CHANGE}
_TIERS = {"kernel": 60, "kernel-lite": 40, "monty": 60}
_WORDS = {"reads": "that reads three things", "makes": "that makes a note", "overwrites": "that overwrites a note"}


def _blocks(kind: str, tier: str = "kernel") -> Opened:
    return partial(blocks, code=_KINDS[kind], tier=tier)


def _block(tier: str, kind: str) -> Figure:
    return Figure(f"{tier}-{kind}", f"{tier}: a block {_WORDS[kind]}", _TIERS[tier], "tree", _blocks(kind, tier))


def _host(name: str, what: str, count: int, opened: Opened) -> Figure:
    return Figure(name, what, count, "cpu", opened)


_ALL = [
    *(_block(tier, kind) for tier in _TIERS for kind in _KINDS),
    *(
        _host(f"host-{kind}", f"the host's part of a block {words}", 60, _blocks(kind))
        for kind, words in _WORDS.items()
    ),
    Figure("start", "kernel: the start of a sandbox, with its probe", 2, "tree", starts),
    Figure("at-once", "kernel: a block that makes a note, 8 at once", 80, "wall", blocks_at_once),
    _host("chat", "chat() with a model that answers at once", 1000, partial(chats, once=chat_once)),
    _host("stream", "stream_chat() with a model that answers at once", 500, partial(chats, once=stream_once)),
    _host("request", "a request over sockets", 400, requests),
    _host("job", "a journaled job of one answer", 300, partial(journaled, answers=EPISODE[2:])),
    _host("event", "a journaled answer, 20 in a job", 800, partial(journaled, answers=EPISODE[2:], messages=20)),
    _host(
        "event-replaces",
        "a journaled block that replaces a note, 10 in a job",
        80,
        partial(journaled, answers=[REPLACED, EPISODE[2]], messages=10),
    ),
]
FIGURES = {figure.name: figure for figure in _ALL}


async def _serve(figure: Figure, base_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with figure.opened(Path(folder), base_url) as work:
            while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
                count = int(line)
                faults, tree = tree_faults(), tree_cpu()
                cpu, wall = time.process_time(), time.perf_counter()
                await work(count)
                wall = time.perf_counter() - wall
                cpu = tree_cpu() - tree if figure.by == "tree" else time.process_time() - cpu
                cost = {"wall": wall * 1e3, "cpu": cpu * 1e3, "faults": tree_faults() - faults}
                print(json.dumps({name: value / count for name, value in cost.items()}), flush=True)


def main(checkout: str, name: str, base_url: str) -> None:
    assert trioagent.__file__ is not None
    if not os.path.realpath(trioagent.__file__).startswith(os.path.realpath(checkout) + os.sep):
        raise SystemExit(f"trioagent was imported from {trioagent.__file__}, not from {checkout}")
    trio.run(_serve, FIGURES[name], base_url)
