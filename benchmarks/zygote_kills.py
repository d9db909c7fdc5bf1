"""Kills of zygotes, which blocks are forked from, under a batch: ``python -m benchmarks zygote_kills [KILLS [JOBS]]``.

While the jobs run (400), zygotes die or are stopped (50 times), one at a time, at random instants: by SIGKILL, SIGTERM
or SIGSTOP, the outer process or the one that forks. No job may fail for that, and each must have written exactly what
it was told to. In each tier. Ends with 1 if anything is wrong.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from trioagent import BatchConfig, Job, open_runtime, run_batch
from trioagent._messages import ChatMessage
from trioagent.sandbox import Sandbox
from trioagent.testing import ScriptedModel

from ._measure import machine, table
from .cancel_storm import processes

TIERS = ("kernel", "kernel-lite")
KILLS, JOBS = 50, 400
ROUNDS = 3  # blocks of a job
# One that is stopped is missed after five seconds only.
_SIGNALS = (*[signal.SIGKILL] * 8, *[signal.SIGTERM] * 4, signal.SIGSTOP)


@attrs.frozen
class Figures:
    """The result of a batch.

    Attributes:
        failed: jobs that failed.
        wrong: jobs whose notes hold something else than what their blocks wrote, once.
        left: processes that were not there before.
    """

    kills: int
    jobs: int
    failed: int
    wrong: int
    left: int
    seconds: float

    @property
    def good(self) -> bool:
        return not (self.failed or self.wrong or self.left)


def answer(messages: Sequence[ChatMessage]) -> str:
    """A block that appends a line to a note and takes a while, so often; then a reply."""
    done = sum(message.role == "tool" for message in messages)
    if done and not messages[-1].content.rstrip().endswith("'')\n</result>"):
        print(f"a block failed: {messages[-1].content:.300}", file=sys.stderr)
    if done == ROUNDS:
        return "<think>done</think><reply>done</reply>"
    code = f"with open('log.md', 'a') as log:\n    _ = log.write('{done}\\n')\nimport time\ntime.sleep(0.05)"
    return f"<think>on</think><python>\n{code}\n</python>"


async def kill_now_and_then(sandbox: Sandbox, kills: int, counter: list[int]) -> None:
    rng = random.Random(5)
    while len(counter) < kills:
        await trio.sleep(rng.uniform(0.02, 0.4))
        pid: int = sandbox._executor.pid  # type: ignore[attr-defined]
        inner = [each for each, state in processes(pid).items() if state != "Z"]
        if not sandbox.zygotes:
            continue  # the last one that died has not been replaced yet
        number = rng.choice(_SIGNALS)
        target = rng.choice([pid, *inner[:1]] if sandbox.tier == "kernel" else [pid])
        try:
            os.kill(target, number)
        except ProcessLookupError:
            continue
        counter.append(number)


def right_logs(folder: Path) -> int:
    """How many memories hold each line once."""
    wanted = "".join(f"{number}\n" for number in range(ROUNDS))
    return sum(path.read_text() == wanted for path in folder.glob("memory-*/*/log.md"))


async def measure(tier: str, kills: int, jobs: int) -> Figures:
    before = set(processes(os.getpid()))
    counter: list[int] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        memories = [Path(folder) / f"memory-{number}" for number in range(jobs)]
        done = failed = 0
        async with open_runtime(ScriptedModel(answer), tier=tier) as runtime:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill_now_and_then, runtime.sandbox, kills, counter)
                while not done or len(counter) < kills:
                    batch = [
                        Job(id=str(number), memory=str(memory / str(done)), messages=("go on",))
                        for number, memory in enumerate(memories)
                    ]
                    run_dir = Path(folder) / f"run-{done}"
                    config = BatchConfig(max_concurrent=32, outage_patience=0)
                    report = await run_batch(batch, runtime=runtime, run_dir=run_dir, config=config)
                    done, failed = done + report.done, failed + report.failed
                    if report.failed:
                        print((run_dir / "failures.jsonl").read_text(), file=sys.stderr)
                nursery.cancel_scope.cancel()
        wrong = done + failed - right_logs(Path(folder))
    left = len(set(processes(os.getpid())) - before)
    return Figures(len(counter), done + failed, failed, wrong, left, time.perf_counter() - started)


def main() -> None:
    kills, jobs = (*map(int, sys.argv[1:]), *(KILLS, JOBS)[len(sys.argv) - 1 :])
    print(machine())
    found = {tier: trio.run(measure, tier, kills, jobs) for tier in TIERS}
    rows = []
    for tier, each in found.items():
        rows += [
            (f"{tier}: jobs, in {each.seconds:.0f} s", str(each.jobs), f">= {jobs}"),
            (f"{tier}: zygotes killed or stopped", str(each.kills), f">= {kills}"),
            (f"{tier}: failed jobs", str(each.failed), "0"),
            (f"{tier}: jobs whose notes are not as written", str(each.wrong), "0"),
            (f"{tier}: processes left", str(each.left), "0"),
        ]
    table(rows)
    sys.exit(int(not all(each.good for each in found.values())))


if __name__ == "__main__":
    main()
