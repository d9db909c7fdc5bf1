"""Starts the server and the batch, disturbs, and looks at what is left."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from . import _ledger
from ._order import STOPPED, Order
from ._plan import STEADY_FIRST, Plan
from ._processes import kill, marked, wait_gone
from ._table import Figures

_ROOT = Path(__file__).parents[3]
# What happens to a batch: the signals it gets, each 0.3 s after the one before it (or when it has ended).
_DISTURBANCES: dict[tuple[signal.Signals, ...], float] = {
    (): 4,  # it kills itself
    (signal.SIGKILL,): 4,
    (signal.SIGINT,): 1.5,
    (signal.SIGTERM,): 1.5,
    (signal.SIGTERM, signal.SIGTERM): 1,
    (signal.SIGINT, signal.SIGKILL): 1,
}
_BETWEEN_SIGNALS = 0.3
_STOP_SECONDS = 30.0  # after an orderly stop with 2 s of grace; more than a busy machine needs
_STUCK_SECONDS = 300.0  # a round that nobody disturbs any more


async def run_chaos(plan: Plan, folder: Path, *, tell: Callable[[str], object] = lambda words: None) -> Figures:
    """Run *plan* in *folder*, which should be empty, and return what was seen. Cancelling leaves no process.

    Args:
        tell: called with words for people whenever a run directory is done with.
    """
    run = _Run(plan, folder, tell)
    async with _open_server(plan) as server:
        run.server = server
        began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.look_for_marks)
                await run.rounds()
                run.figures.rounds_seconds = trio.current_time() - began
                if plan.steady_seconds:
                    await run.steady()
                nursery.cancel_scope.cancel()
        finally:
            run.figures.left_processes += len(marked(*run.marks))
        run.figures.server = await server.ask({})
    run.figures.left_files += _mounts(folder)
    return run.figures


class _Server:
    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""
        self.base_url = ""

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")
        return await self.receive()

    async def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            data = await self._process.stdout.receive_some(65536)
            if not data:
                raise RuntimeError("the chaos run's server has died")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def _open_server(plan: Plan) -> AsyncIterator[_Server]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.slow.chaos.server", plan.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        server = _Server(process)
        server.base_url = (await server.receive())["base_url"]
        yield server
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # bounded: SIGKILL cannot be refused
            await process.wait()


class _Run:
    server: _Server

    def __init__(self, plan: Plan, folder: Path, tell: Callable[[str], object]) -> None:
        self._plan, self._folder, self._tell = plan, folder, tell
        self._chance = random.Random(f"{plan.seed} disturbances")
        # Between what a run needs and what the machine may have: no other run is likely to draw the same.
        self._mark = 20_000 + random.SystemRandom().randrange(1_000_000)
        self.marks = (f'"printed_chars": {self._mark},', f'"mark": {self._mark},')
        self.figures = Figures(plan=plan)

    async def look_for_marks(self) -> None:
        """See the sandbox's processes by their mark once: else nobody would see them if they were left."""
        while not marked(self.marks[0]):
            await trio.sleep(0.5)
        self.figures.marks_seen = True

    async def rounds(self) -> None:
        """One batch after the other, each killed and stopped until it gets through, for as long as the plan says."""
        until = trio.current_time() + self._plan.seconds
        number = 0
        while trio.current_time() < until:
            folder = self._folder / f"round-{number}"
            await self._round(folder, number * self._plan.jobs, until)
            number += 1
        self.figures.rounds = number

    async def _round(self, folder: Path, first: int, until: float) -> None:
        folder.mkdir()
        for start in range(10_000):
            left = max(0.0, until - trio.current_time())
            order = self._order(folder, first, self._plan.jobs, start, cancel_seconds=left)
            if await self._one_process(order, until) == 0:
                break
        await self._check(folder, first, self._plan.jobs)

    async def steady(self) -> None:
        """One process that nobody kills, over a longer time."""
        folder = self._folder / "steady"
        folder.mkdir()
        seconds = self._plan.steady_seconds
        order = self._order(
            folder, STEADY_FIRST, self._plan.steady_jobs, 0, cancel_seconds=seconds, take_seconds=seconds
        )
        began = trio.current_time()
        code = await self._one_process(order, began)
        self.figures.steady_seconds = trio.current_time() - began
        if code:
            self.figures.problems.append(f"the steady batch ended with {code}")
        samples = _samples(folder)
        self.figures.steady = [sample for sample in samples if "rss" in sample]
        jobs = len(await trio.to_thread.run_sync(_ledger.kept, folder / "run"))
        self.figures.steady_jobs = jobs
        await self._check(folder, STEADY_FIRST, jobs)

    def _order(
        self,
        folder: Path,
        first: int,
        count: int,
        start: int,
        *,
        cancel_seconds: float,
        take_seconds: float = math.inf,
    ) -> Order:
        return Order(
            plan=self._plan,
            base_url=self.server.base_url,
            folder=folder,
            first=first,
            count=count,
            take_seconds=take_seconds,
            mark=self._mark,
            cancel_seconds=cancel_seconds,
            start=start,
        )

    async def _one_process(self, order: Order, until: float) -> int:
        """Start the batch, let it run for a while, disturb it if it is not *until* yet; its return code."""
        calm = self._chance.uniform(0, 2 * self._plan.calm)
        signals = self._chance.choices(list(_DISTURBANCES), list(_DISTURBANCES.values()))[0]
        disturbed = trio.current_time() + calm < until
        if disturbed and not signals:
            order = attrs.evolve(order, die_seconds=calm)
        process = await _start(order)
        self.figures.starts += 1
        self.figures.resumes += order.start > 0
        try:
            with trio.move_on_after(calm if disturbed and signals else order.cancel_seconds + _STUCK_SECONDS):
                await process.wait()
            code = await self._disturb(process, signals) if disturbed and signals else process.returncode
            self.figures.step_kills += order.die_seconds < math.inf and code == -signal.SIGKILL
            if code not in (0, STOPPED, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM):
                told = (order.folder / "stderr").read_text(errors="replace")[-2000:]
                what = "is stuck" if code is None else f"ended with {code}"
                raise AssertionError(f"the batch in {order.folder} {what}; {_samples(order.folder)[-1:]}; {told}")
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # bounded: SIGKILL cannot be refused
                await process.wait()
        self.figures.left_processes += len(await wait_gone(*self.marks))
        kept = await trio.to_thread.run_sync(_ledger.kept, order.folder / "run")
        await self.server.ask({"kept": kept})
        return code

    async def _disturb(self, process: trio.Process, signals: tuple[signal.Signals, ...]) -> int:
        for number in signals[:-1]:
            process.send_signal(number)
            with trio.move_on_after(_BETWEEN_SIGNALS):
                return await process.wait()
        if process.poll() is not None:
            return await process.wait()
        began = trio.current_time()
        if signals[-1] == signal.SIGKILL:
            self.figures.kill_seconds.append(await kill(process))
        else:
            process.send_signal(signals[-1])
            with trio.fail_after(_STOP_SECONDS):
                await process.wait()
            kind = self.figures.cancel_seconds if len(signals) > 1 else self.figures.stop_seconds
            kind.append(trio.current_time() - began)
        return await process.wait()

    async def _check(self, folder: Path, first: int, count: int) -> None:
        """Compare the folder with the script; what is in order is deleted, the rest is kept for inspection."""
        problems = await trio.to_thread.run_sync(partial(_ledger.check, self._plan, folder, first, count))
        self.figures.take_samples(_samples(folder))
        self.figures.left_files += map(str, (folder / "tmp").iterdir())
        self.figures.jobs += count
        self.figures.meant_to_fail += _ledger.meant_to_fail(self._plan, first, count)
        self.figures.problems += [f"{folder.name}: {problem}" for problem in problems]
        seen = await self.server.ask({"forget": True})
        self._tell(
            f"{folder.name}: {count} jobs, {len(problems)} problems; so far {self.figures.jobs} jobs, "
            f"{len(self.figures.kill_seconds) + self.figures.step_kills} kills, {sum(seen['served'].values())} requests"
        )
        if not problems and not seen["violations"]:
            await trio.to_thread.run_sync(shutil.rmtree, folder)


async def _start(order: Order) -> trio.Process:
    """The batch, with a folder for temporary files to itself, which must be empty at the end."""
    temporary = order.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    async with await trio.open_file(order.folder / "stderr", "ab") as errors:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.slow.chaos.batch", order.to_json()],
            stderr=errors.fileno(),
            cwd=_ROOT,
            env=os.environ | {"TMPDIR": str(temporary)},
        )


def _samples(folder: Path) -> list[dict[str, Any]]:
    """What the batch's processes said of themselves; a kill may have torn a line."""
    samples = []
    path = folder / "samples.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            samples.append(json.loads(line))
        except ValueError:
            continue
    return samples


def _mounts(folder: Path) -> list[str]:
    """What is mounted below *folder*, or of it, in this process's view."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
