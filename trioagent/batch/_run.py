"""`run_batch`: many jobs, one run directory, and nothing lost.

The way of a job: taken from the input when a place is free, looked up in the journal (finished: skipped; begun: goes
on where it was), run as an episode that journals every answer and every result, its outcome journaled, its row written.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from .._activity import Activity
from .._config import BatchConfig
from ..agent import Agent
from ..models import Model
from ..nursery_runner import Cancelled, Done, Failed, iterate, open_runner
from ..runtime import Runtime
from ._budget import Budget, BudgetedModel
from ._episode import drop_receipt, run_episode
from ._jobs import Job
from ._journal import JobChangedError, JobRecord, Journal, open_journal
from ._outputs import REPORT, STATUS, Outputs, failure, write_json
from ._progress import Progress, Watch

_LOOK_AHEAD = 200  # jobs looked up in the journal at once
_STATUS_SECONDS = 1.0


@attrs.frozen(kw_only=True)
class BatchReport:
    """What came of a run.

    Attributes:
        done, failed: jobs that this run ended.
        skipped: jobs that earlier runs had finished.
        left: jobs that were begun and can go on when the batch is run again.
        stopped: why the run ended before its input: "" (it did not), "asked", "budget" or "limit".
        tokens, cost: spent by this run.
        seconds: wall time of this run.
        seconds_by_state: what all jobs together spent their time on.
        run_dir: where the outputs are.
    """

    done: int
    failed: int
    skipped: int
    left: int
    stopped: Literal["", "asked", "budget", "limit"]
    tokens: int
    cost: float
    seconds: float
    seconds_by_state: Mapping[str, float]
    run_dir: str


async def run_batch(
    jobs: Iterable[Job] | AsyncIterable[Job],
    *,
    runtime: Runtime,
    run_dir: str | Path,
    config: BatchConfig = BatchConfig(),
    stop: trio.Event | None = None,
    total: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> BatchReport:
    """Run *jobs*, or go on with them: the same call on the same *run_dir* takes up where the last one ended.

    Args:
        jobs: taken one by one as places get free, never held together.
        runtime: the default model, and the sandbox.
        run_dir: the journal, ``conversations.jsonl``, ``failures.jsonl`` and ``report.json``.
        stop: set it to end early: no new job starts, running ones end at their next checkpoint within
            ``config.grace_seconds`` and are cancelled then.
        total: how many jobs there are, if known; for the progress only.
        on_progress: called every second, and once at the end.

    Raises:
        JournalError: the run directory cannot be used, or another process runs this batch.
        ExceptionGroup: of errors that stop a whole run: the input itself raised, an id occurs twice
            (`InvalidInputError`), a job is not what it was when the run began (`JobChangedError`), the journal cannot
            be written (`JournalError`), a money budget cannot be kept (`PriceUnknown`).

    Cancelling, like ``kill -9``, loses only what was under way: every finished answer and block is in the journal.
    """
    run_dir = Path(run_dir)
    began = trio.current_time()
    stop = trio.Event() if stop is None else stop
    async with open_journal(run_dir) as journal, _outputs(run_dir) as outputs, AsyncExitStack() as models:
        batch = _Batch(runtime, journal, outputs, config, stop, total, models)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell, batch, on_progress, run_dir / STATUS)
            nursery.start_soon(batch.enforce_grace)
            await batch.run(jobs)
            nursery.cancel_scope.cancel()
        if on_progress is not None:
            on_progress(batch.progress())
        report = BatchReport(
            done=batch.watch.done,
            failed=batch.watch.failed,
            skipped=batch.watch.skipped,
            left=batch.watch.left,
            stopped=batch.stopped,
            tokens=batch.budget.spent.total_tokens,
            cost=batch.budget.cost,
            seconds=trio.current_time() - began,
            seconds_by_state=dict(batch.watch.seconds),
            run_dir=str(run_dir),
        )
        await trio.to_thread.run_sync(write_json, run_dir / REPORT, attrs.asdict(report))
        return report


@attrs.define
class _Running:
    job: Job
    record: JobRecord
    agent: Agent | None = None  # until its model is open and its memory's path is known to be good

    @property
    def last_words(self) -> str:
        said = self.agent.messages if self.agent is not None else []
        return next((message.content for message in reversed(said) if message.role == "assistant"), "")


class _Batch:
    """The parts of one run and what they share."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        outputs: Outputs,
        config: BatchConfig,
        stop: trio.Event,
        total: int | None,
        models: AsyncExitStack,
    ) -> None:
        self._runtime, self._journal, self._outputs, self._config = runtime, journal, outputs, config
        self._stop, self._models = stop, models
        self._scope = trio.CancelScope()
        self._running: dict[str, _Running] = {}
        self._by_name: dict[str | None, Model] = {}
        self._opening = trio.Lock()
        self._taken = 0
        self.watch, self.budget = Watch(total), Budget(config)

    @property
    def stopped(self) -> Literal["", "asked", "budget", "limit"]:
        if self.budget.exhausted:
            return "budget"
        if self._stop.is_set():
            return "asked"
        return "limit" if self._taken == self._config.limit else ""

    def progress(self) -> Progress:
        return self.watch.snapshot(
            tokens=self.budget.spent.total_tokens, cost=self.budget.cost, stopping=self._stop.is_set()
        )

    async def run(self, jobs: Iterable[Job] | AsyncIterable[Job]) -> None:
        """Run them all, or until asked to stop."""
        with self._scope:
            async with (
                open_runner(self._runtime, max_concurrent=self._config.max_concurrent) as runner,
                aclosing(self._unfinished(jobs)) as unfinished,
            ):
                async for outcome in runner.run(unfinished, self._work, activity=self._activity):
                    self.watch.ended(outcome.key)
                    running = self._running.pop(outcome.key)
                    match outcome:
                        case Done(_, None) | Cancelled():
                            self.watch.left += 1
                        case Done(_, dict() as value):
                            await self._end("done", running, value)
                        case Failed(_, error):
                            if running.agent is not None:
                                await drop_receipt(running.job, running.record, running.agent, self._journal)
                            await self._end("failed", running, failure(error, running.job.metadata, running.last_words))
        self.watch.left += len(self._running)

    async def enforce_grace(self) -> None:
        """Cancel what still runs when the time to end by itself is over."""
        await self._stop.wait()
        await trio.sleep(self._config.grace_seconds)
        self._scope.cancel()

    async def _unfinished(self, jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncGenerator[Job, None]:
        """The jobs that have no outcome yet (or one that is to be tried again), until a stop or the limit."""
        finished = {"done"} if self._config.retry_failed else {"done", "failed"}
        async with aclosing(_chunks(jobs)) as chunks:
            async for chunk in chunks:
                known = await self._journal.look_up([job.id for job in chunk])
                for job, seen in zip(chunk, known, strict=True):
                    if seen is not None and seen.digest != job.digest:
                        raise JobChangedError(job.id, str(self._journal.path.parent))
                    if seen is not None and seen.state in finished:
                        self.watch.skipped += 1
                        continue
                    if self._stop.is_set() or self._taken == self._config.limit:
                        return
                    self._taken += 1
                    yield job

    def _activity(self, job: Job) -> Activity:
        deadline = job.deadline or self._config.deadline or math.inf
        return self.watch.activity(job.id, deadline)

    async def _work(self, job: Job) -> dict[str, Any] | None:
        record = await self._journal.begin(job.id, job.digest)
        running = self._running[job.id] = _Running(job, record)
        agent = running.agent = Agent(
            self._runtime,
            memory_path=job.memory,
            system_prompt=job.system_prompt,
            max_tool_turns=self._config.max_tool_turns,
            model=await self._model(job.model),
        )
        return await run_episode(job, record, agent, journal=self._journal, budget=self.budget, stop=self._stop)

    async def _model(self, name: str | None) -> Model:
        """The model of that name, opened once for the run."""
        async with self._opening:
            if name not in self._by_name:
                model = self._runtime.model
                if name is not None:
                    model = await self._models.enter_async_context(self._runtime.open_model(name))
                self._by_name[name] = BudgetedModel(model, self.budget)
            return self._by_name[name]

    async def _end(self, state: Literal["done", "failed"], running: _Running, outcome: dict[str, Any]) -> None:
        """Journal an outcome, then write its row: a row never tells what the journal does not know."""
        job, attempts = running.job, running.record.attempts
        with trio.CancelScope(shield=True):  # bounded: two local writes
            await self._journal.finish(job.id, state, outcome)
            await trio.to_thread.run_sync(self._outputs.add, state, job.id, attempts, outcome)
        if state == "done":
            self.watch.done += 1
        else:
            self.watch.failed += 1


async def _chunks(jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncGenerator[list[Job], None]:
    chunk: list[Job] = []
    async with aclosing(iterate(jobs)) as source:
        async for job in source:
            chunk.append(job)
            if len(chunk) == _LOOK_AHEAD:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


@asynccontextmanager
async def _outputs(run_dir: Path) -> AsyncIterator[Outputs]:
    outputs = await trio.to_thread.run_sync(Outputs, run_dir)
    try:
        yield outputs
    finally:
        outputs.close()


async def _tell(batch: _Batch, on_progress: Callable[[Progress], None] | None, status: Path) -> None:
    """Once a second: the caller's progress, and the status file for whoever looks from outside."""
    while True:
        await trio.sleep(_STATUS_SECONDS)
        progress = batch.progress()
        if on_progress is not None:
            on_progress(progress)
        await trio.to_thread.run_sync(write_json, status, attrs.asdict(progress))
