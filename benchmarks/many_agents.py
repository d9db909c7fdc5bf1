"""Many agents at once and many jobs in a row. ``python -m benchmarks.many_agents [part ...]``.

Parts: together, descriptors, cancel, journal, jobs (all of them by default; "jobs" takes some minutes).
"""

from __future__ import annotations

import gc
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import trio

from trioagent import (
    Agent,
    BatchConfig,
    ChatMessage,
    Job,
    JobDone,
    ModelConfig,
    RateLimits,
    Runtime,
    SandboxLimits,
    open_runner,
    open_runtime,
    run_agents,
    run_batch,
)
from trioagent._descriptors import fit_to_descriptors
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

from ._measure import machine, model_server, own_cpu, rss, table, tree_cpu
from .one_agent import EPISODE, answer

Row = tuple[str, str, str]


def reply_only(messages: int) -> str:
    """An answer without code."""
    return EPISODE[2]


def config(base_url: str) -> ModelConfig:
    return ModelConfig(base_url=base_url, model="loopback", rate=RateLimits(max_in_flight=2000))


async def episodes(runtime: Runtime, folder: Path, count: int, *, chats: int = 1) -> float:
    """Wall seconds of *count* agents at once, each with *chats* messages."""
    agents = [Agent(runtime, memory_path=folder / str(number)) for number in range(count)]
    began = time.perf_counter()
    for _ in range(chats):
        await run_agents(agents, ["I work at Acme."] * count)
    return time.perf_counter() - began


async def together(count: int, base_url: str, *, chats: int = 1) -> tuple[float, float, float]:
    """Wall seconds, and CPU ms an episode of this process and of it with its sandbox."""
    with tempfile.TemporaryDirectory() as name:
        async with open_runtime(model=config(base_url)) as runtime:
            await episodes(runtime, Path(name) / "warm", min(count, 20))
            own, tree = own_cpu(), tree_cpu()
            wall = await episodes(runtime, Path(name), count, chats=chats)
            return wall, (own_cpu() - own) / count * 1e3, (tree_cpu() - tree) / count * 1e3


def measure_together() -> Iterator[Row]:
    with model_server(1.0, answer) as base_url:
        wall, _, _ = trio.run(together, 10, base_url)
        yield "10 agents together (3 turns at 1.0 s, 2 blocks), wall", f"{wall:.2f} s", "3.15 s"
        wall, own, tree = trio.run(together, 1000, base_url)
        yield "1000 agents together, wall", f"{wall:.2f} s", "10 s"
        yield "1000 agents: CPU an episode, this process", f"{own:.2f} ms", ""
        yield "1000 agents: CPU an episode, with the sandbox's processes", f"{tree:.2f} ms", ""
    with model_server(1.0, reply_only) as base_url:

        async def model_side() -> float:
            return (await together(1000, base_url, chats=3))[1]

        yield "1000 agents: CPU of 3 model answers, without blocks", f"{trio.run(model_side):.2f} ms", "4 ms"


def measure_descriptors() -> Iterator[Row]:
    """1000 jobs with 1024 descriptors: as many at once as there is room for, counted as the command line counts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with model_server(1.0, answer) as base_url, tempfile.TemporaryDirectory() as name:
            fit = fit_to_descriptors(1000, 1024, blocks=SandboxLimits().parallel)
            rate = RateLimits(max_in_flight=2000, max_idle=fit.max_idle)

            async def run() -> tuple[int, float]:
                async with open_runtime(model=ModelConfig(base_url=base_url, model="loopback", rate=rate)) as runtime:
                    began, failed = time.perf_counter(), 0
                    jobs = (Job(id=str(n), memory=f"{name}/m{n}", messages=("I work at Acme.",)) for n in range(1000))
                    report = await run_batch(
                        jobs,
                        runtime=runtime,
                        run_dir=f"{name}/run",
                        config=BatchConfig(max_concurrent=fit.max_concurrent),
                    )
                    failed = report.failed + report.left
                    return failed, time.perf_counter() - began

            failed, wall = trio.run(run)
            yield f"1000 jobs with ulimit -n 1024, {fit.max_concurrent} at once: errors", str(failed), "0"
            yield f"1000 jobs with ulimit -n 1024, {fit.max_concurrent} at once: wall", f"{wall:.2f} s", ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def measure_cancel() -> Iterator[Row]:
    """1000 agents, most waiting for the model, some in blocks that never end."""
    stuck = "<think>x</think>\n<python>\nwhile True: pass\n</python>"

    async def run() -> float:
        with tempfile.TemporaryDirectory() as name:
            with model_server(60.0, reply_only) as base_url:
                async with open_runtime(model=config(base_url)) as runtime:
                    waiting = [Agent(runtime, memory_path=f"{name}/w{n}") for n in range(950)]
                    busy = [Agent(runtime, memory_path=f"{name}/b{n}", model=ScriptedModel([stuck])) for n in range(50)]
                    async with trio.open_nursery() as nursery:
                        for agent in [*waiting, *busy]:
                            nursery.start_soon(agent.chat, "Go")
                        await trio.sleep(4)
                        began = time.perf_counter()
                        nursery.cancel_scope.cancel()
                    return time.perf_counter() - began

    yield "cancel of 1000 in flight (8 blocks running) to all dead", f"{trio.run(run):.3f} s", "0.25 s"


def jobs(folder: str, count: int) -> Iterator[Job]:
    for number in range(count):
        yield Job(id=f"job-{number}", memory=f"{folder}/m{number}", messages=("I work at Acme.",))


def measure_journal() -> Iterator[Row]:
    """The standard episode with and without the journal: at 1.0 s with 100 at once, and where the CPU is the limit."""
    count = 300

    async def plain(base_url: str) -> float:
        with tempfile.TemporaryDirectory() as name:
            async with open_runtime(model=config(base_url)) as runtime:

                async def work(job: Job) -> None:
                    await Agent(runtime, memory_path=job.memory).chat(job.messages[0])

                began = time.perf_counter()
                async with open_runner(runtime, max_concurrent=100) as runner:
                    async for outcome in runner.run(jobs(name, count), work):
                        assert isinstance(outcome, JobDone), outcome
                return count / (time.perf_counter() - began)

    async def journaled(base_url: str) -> float:
        with tempfile.TemporaryDirectory() as name:
            async with open_runtime(model=config(base_url)) as runtime:
                began = time.perf_counter()
                report = await run_batch(
                    jobs(name, count), runtime=runtime, run_dir=f"{name}/run", config=BatchConfig(max_concurrent=100)
                )
                assert report.done == count
                return count / (time.perf_counter() - began)

    for latency, target in ((1.0, "10 %"), (0.0, "")):
        with model_server(latency, answer) as base_url:
            rates = [(trio.run(plain, base_url), trio.run(journaled, base_url)) for _ in range(3)]
        free, kept = max(rate for rate, _ in rates), max(rate for _, rate in rates)
        yield f"episodes a second, model at {latency} s, not journaled", f"{free:.1f}", ""
        yield f"episodes a second, model at {latency} s, journaled", f"{kept:.1f}", ""
        yield f"cost of the journal, model at {latency} s", f"{(1 - kept / free) * 100:.1f} %", target


def measure_checkpoints() -> Iterator[Row]:
    from trioagent._messages import Usage
    from trioagent._reply_parser import parse_reply
    from trioagent._runs import AnswerEvent
    from trioagent._runs._journal import open_journal

    event = AnswerEvent(answer=parse_reply("<think>" + "x" * 500 + "</think><python>a = 1</python>"), usage=Usage())

    async def run() -> float:
        with tempfile.TemporaryDirectory() as name:
            async with open_journal(Path(name)) as journal, trio.open_nursery() as nursery:
                began = time.perf_counter()

                async def one(number: int) -> None:
                    record = await journal.begin(f"job-{number}", "digest")
                    for n in range(20):
                        await journal.add_event(record, n, event)

                for number in range(500):
                    nursery.start_soon(one, number)
            return 500 * 20 / (time.perf_counter() - began)

    yield "checkpoints a second (500 jobs at once)", f"{trio.run(run):.0f}", "2000"


def measure_jobs() -> Iterator[Row]:
    """100,000 jobs that only reply, with a model that takes no time: memory and throughput from tenth to tenth."""
    count = 100_000
    marks: list[tuple[float, int]] = []

    def watched(folder: str) -> Iterator[Job]:
        for number, job in enumerate(jobs(folder, count)):
            if number % (count // 10) == 0:
                gc.collect()
                marks.append((time.perf_counter(), rss()))
            yield attrs.evolve(job, memory=f"{folder}/m{number % 100}")

    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            model = _Instant()
            async with open_runtime(model=model, sandbox_limits=SandboxLimits(parallel=1)) as runtime:
                report = await run_batch(
                    watched(name), runtime=runtime, run_dir=f"{name}/run", config=BatchConfig(max_concurrent=100)
                )
                assert report.done == count, report
                marks.append((time.perf_counter(), rss()))

    trio.run(run)
    rates = [count / 10 / (b[0] - a[0]) for a, b in itertools.pairwise(marks)]
    growth = (max(size for _, size in marks[1:]) - marks[1][1]) / 2**20
    yield "100,000 jobs: jobs a second, second tenth", f"{rates[1]:.0f}", ""
    yield "100,000 jobs: jobs a second, last tenth", f"{rates[-1]:.0f}", ""
    yield "100,000 jobs: growth of memory after the first tenth", f"{growth:.1f} MiB", "50 MiB"


class _Instant(ScriptedModel):
    """Always the same answer at once; forgets what it was asked."""

    def __init__(self) -> None:
        super().__init__(lambda messages: EPISODE[2], chunk=1000)

    def answer(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[AsyncIterator[AnswerPart]]:
        self.calls.clear()
        return super().answer(messages)


PARTS = {
    "together": measure_together,
    "descriptors": measure_descriptors,
    "cancel": measure_cancel,
    "journal": measure_journal,
    "checkpoints": measure_checkpoints,
    "jobs": measure_jobs,
}


def main(names: list[str]) -> None:
    print(machine())
    for name in names or list(PARTS):
        table(PARTS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
