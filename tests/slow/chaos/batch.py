"""The batch of a chaos run, in a process of its own, which may be killed at any time and started again.

Usage: ``python -m tests.slow.chaos.batch ORDER``. Ends with 0 when all jobs have ended, with `STOPPED` when a signal
ended it first. One signal asks for an orderly end, a second one cancels, as with the command line.
"""

from __future__ import annotations

import gc
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from trioagent import BatchConfig, Job, ModelConfig, RateLimits, RetryPolicy, Runtime, SandboxLimits, open_runtime
from trioagent.batch import BatchReport, Progress, run_batch
from trioagent.models import Endpoints, RateLimiter, open_model
from trioagent.models._connection_pool import ConnectionPool

from . import _script
from ._faults import MOST
from ._order import STOPPED, Order
from ._patience import Impatient
from ._processes import below

_SAMPLE_SECONDS = 0.25
_DEATH_STEPS = 1000  # a busy batch takes some thousand a second


class _Death(trio.abc.Instrument):
    """``kill -9`` of this process at one step of its tasks: between two steps lie instants that a clock seldom hits."""

    def __init__(self, at: float, steps: int) -> None:
        self._at, self._steps = at, steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if trio.current_time() >= self._at:
            self._steps -= 1
            if self._steps < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Batch:
    def __init__(self, order: Order) -> None:
        self._order, self._plan = order, order.plan
        self._stop, self._hard = trio.Event(), trio.CancelScope()
        self._chance = random.Random(f"{order.plan.seed} cancels {order.folder.name} {order.start}")
        self._began = trio.current_time()
        self._taken = 0
        self._progress: Progress | None = None
        self._limiter: RateLimiter | None = None

    async def run(self) -> BatchReport | None:
        """Run the batch, cancelled and resumed as ordered; returns its report, or None if it had to stop at once."""
        if self._order.die_seconds < math.inf:
            death = _Death(self._began + self._order.die_seconds, self._chance.randrange(_DEATH_STEPS))
            trio.lowlevel.add_instrument(death)
        report: BatchReport | None = None
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._sample_on)
                before = _holdings()
                with self._hard:
                    while report is None:
                        report = await self._with_a_runtime()
                        self._tell({"left": {name: held - before[name] for name, held in _holdings().items()}})
                nursery.cancel_scope.cancel()
        return report

    async def _with_a_runtime(self) -> BatchReport | None:
        """Runs in one runtime until one is not cancelled (its report), or the runtime is (None)."""
        with self._cancelled_at_random() as outer:
            async with self._open_runtime() as runtime:
                while True:
                    tasks = trio.lowlevel.current_statistics().tasks_living
                    with self._cancelled_at_random() as inner:
                        report = await self._run(runtime)
                    if not inner.cancelled_caught:
                        return report
                    self._note_cancel(inner)
                    self._tell({"left": {"tasks": trio.lowlevel.current_statistics().tasks_living - tasks}})
        self._note_cancel(outer)
        return None

    def _cancelled_at_random(self) -> trio.CancelScope:
        at = trio.current_time() + 0.1 + self._chance.expovariate(0.5 / self._plan.calm)
        over = at > self._began + self._order.cancel_seconds
        return trio.CancelScope(deadline=math.inf if over else at)

    def _note_cancel(self, scope: trio.CancelScope) -> None:
        self._tell({"cancel_seconds": trio.current_time() - scope.deadline})

    async def _run(self, runtime: Runtime) -> BatchReport:
        config = BatchConfig(
            max_concurrent=self._plan.agents,
            deadline=600,
            grace_seconds=2,
            # Where nobody is left whose success would tell, answers that are none fail their job only then.
            outage_patience=max(20.0, 3 * self._plan.outage_seconds),
        )
        return await run_batch(
            self._jobs(),
            runtime=runtime,
            run_dir=self._order.folder / "run",
            config=config,
            stop=self._stop,
            on_progress=self._on_progress,
        )

    def _jobs(self) -> Iterator[Job]:
        order = self._order
        for index in range(order.count):
            over = trio.current_time() - self._began > order.take_seconds
            if over and index >= self._taken:
                return
            self._taken = max(self._taken, index + 1)
            yield _script.job(
                self._plan.seed,
                order.first + index,
                order.folder / "memories",
                agents=self._plan.agents,
                patience=min(self._plan.patience, self._plan.calm),
            )

    @asynccontextmanager
    async def _open_runtime(self) -> AsyncIterator[Runtime]:
        rate = RateLimits(max_in_flight=max(self._plan.agents, 8))
        config = ModelConfig(
            base_url=self._order.base_url,
            model="chaos",
            # Storms come on top of an answer's own faults, and a patience that ran out because the machine is busy too.
            retry=RetryPolicy(attempts=MOST + 6, first_delay=0.2, max_delay=2.0),
            rate=rate,
        )
        endpoints = Endpoints()
        self._limiter = endpoints.rate_limiter(config)
        transport = Impatient(ConnectionPool(connect_seconds=config.connect_seconds), self._plan.patience)
        limits = SandboxLimits(printed_chars=self._order.mark)  # no block prints; it shows in the command line
        async with (
            open_model(config, transport=transport, endpoints=endpoints) as model,
            open_runtime(model=model, sandbox_limits=limits, tier=self._plan.tier) as runtime,
        ):
            yield runtime

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            if self._stop.is_set():
                self._hard.cancel()
            self._stop.set()

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress

    async def _sample_on(self) -> None:
        while True:
            await trio.sleep(_SAMPLE_SECONDS)
            self._sample()

    def _sample(self) -> None:
        progress = self._progress
        processes = below(os.getpid())
        self._tell(
            {
                "time": time.monotonic(),
                "rss": _rss("self"),
                "rss_below": sum(_rss(str(pid)) for pid in processes),
                "children": len(processes),
                "fds": len(os.listdir("/proc/self/fd")),
                "tasks": trio.lowlevel.current_statistics().tasks_living,
                "ended": progress.done + progress.failed + progress.skipped if progress else 0,
                "running": progress.running if progress else 0,
                "states": dict(progress.states) if progress else {},
                "allowed": self._limiter.statistics().allowed_in_flight if self._limiter else 0,
            }
        )

    def _tell(self, sample: dict[str, Any]) -> None:
        line = json.dumps({"start": self._order.start} | sample) + "\n"
        with open(self._order.folder / "samples.jsonl", "a", encoding="utf-8") as file:
            file.write(line)


def _holdings() -> Counter[str]:
    """What this process holds on to."""
    gc.collect()
    return Counter(
        fds=len(os.listdir("/proc/self/fd")),
        tasks=trio.lowlevel.current_statistics().tasks_living,
        children=len(below(os.getpid())),
    )


def _rss(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has just ended


def main() -> int:
    order = Order.from_json(sys.argv[1])
    report = trio.run(_run, order)
    return STOPPED if report is None or report.stopped else 0


async def _run(order: Order) -> BatchReport | None:
    return await _Batch(order).run()


if __name__ == "__main__":
    sys.exit(main())
