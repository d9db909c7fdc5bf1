"""An evaluation of many samples at once: ``python -m benchmarks evals [--samples N] [--wait SECONDS ...]``.

Every sample has a memory of its own, is asked one question, and takes three answers of the model and two blocks. The
target is 1.1 times the slowest chain of model waits; what is above it is work, so the CPU time is shown, too: where it
is more than a tenth of the waits times the number of cores, no scheduling can meet the target.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from trioagent import BatchConfig, ModelConfig, RateLimits, open_runtime
from trioagent.evals import Contains, EvalReport, Sample, SetUp, run_eval

from ._measure import machine, model_server, own_cpu, table, tree_cpu

NOTES = {
    "user.md": "# Ana\n- **Lives in**: Porto\n- **Sister**: [[entities/eva]]\n",
    "entities/eva.md": "# Eva\n- **Age**: 30\n",
}
TURNS = 3
LOOK = "<think>look</think>\n<python>\nuser = read_file('user.md')\n</python>"
WRITE = "<think>note</think>\n<python>\ndone = update_file('user.md', '# Ana', '# Ana\\n- **Asked**: yes')\n</python>"
REPLY = "<think>ok</think>\n<python></python>\n<reply>You live in Porto.</reply>"


def answer(messages: int) -> str:
    """Two blocks, then the reply: by how many messages the conversation has."""
    return {2: LOOK, 4: WRITE}.get(messages, REPLY)


def samples(count: int) -> list[Sample]:
    """So many questions to memories of their own."""
    return [
        Sample(
            id=f"sample-{number}",
            category="retrieval",
            set_up=SetUp(id=f"memory-{number}", notes=NOTES),
            messages=("Where do I live?",),
            expected="Porto",
            grader=Contains("Porto"),
        )
        for number in range(count)
    ]


async def evaluate(count: int, base_url: str, folder: Path) -> tuple[EvalReport, float, float, float]:
    """The report; wall seconds, CPU seconds of this process, and with the sandbox's processes."""
    config = ModelConfig(base_url=base_url, model="loopback", rate=RateLimits(max_in_flight=2 * count))
    async with open_runtime(config) as runtime:
        batch = BatchConfig(max_concurrent=count)
        await run_eval(samples(min(count, 20)), suite="warm", runtime=runtime, run_dir=folder / "warm", config=batch)
        wall, own, tree = time.perf_counter(), own_cpu(), tree_cpu()
        report = await run_eval(samples(count), suite="waits", runtime=runtime, run_dir=folder / "run", config=batch)
        return report, time.perf_counter() - wall, own_cpu() - own, tree_cpu() - tree


def measure(count: int, waits: list[float]) -> Iterator[tuple[str, str, str]]:
    """A few rows for each wait."""
    cores = len(os.sched_getaffinity(0))
    for wait in waits:
        with model_server(wait, answer) as base_url, tempfile.TemporaryDirectory() as name:
            report, wall, own, tree = trio.run(evaluate, count, base_url, Path(name))
        assert (report.total.samples, report.total.score, report.run.failed) == (count, 1.0, 0)
        chain, what = TURNS * wait, f"{count:,} samples at {wait:g} s an answer"
        yield f"{what}: wall", f"{wall:.2f} s", f"{1.1 * chain:.2f} s"
        yield f"{what}: wall by the chain of waits", f"{wall / chain:.2f}", "1.1"
        yield f"{what}: CPU a sample, this process", f"{own / count * 1e3:.1f} ms", ""
        yield f"{what}: CPU a sample, all processes", f"{tree / count * 1e3:.1f} ms", ""
        yield f"{what}: CPU by the {cores} cores", f"{tree / cores:.2f} s", f"{0.1 * chain:.2f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks evals", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--wait", type=float, nargs="+", default=[1.0, 20.0])
    given = parser.parse_args()
    print(machine())
    table(measure(given.samples, given.wait))


if __name__ == "__main__":
    main()
