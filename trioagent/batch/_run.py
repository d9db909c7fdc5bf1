"""`run_batch`: many jobs, one run directory, and nothing lost.

The way of a job: taken from the input when a place is free, looked up in the journal (finished: skipped; begun: goes
on where it was), run as an episode that journals every answer and every result, its outcome journaled, its row written.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from .._activity import Activity
from .._config import BatchConfig
from .._errors import ModelRefusedError
from .._rates import Breaker, refusal
from ..agent import Agent
from ..models import Model
from ..nursery_runner import Cancelled, Done, Failed, Outcome, Runner, open_runner
from ..runtime import Runtime
from ._budget import Budget, BudgetedModel, BudgetExhausted
from ._episode import drop_receipt, run_episode
from ._jobs import Job, in_chunks
from ._journal import JobChangedError, JobRecord, Journal, open_journal
from ._outputs import REPORT, Outputs, failure, open_outputs, write_json
from ._progress import Progress, Watch
from ._report import BatchReport, StatusFile, Stopped
from ._spending import Spending

_LOOK_AHEAD = 200  # jobs looked up in the journal at once
_STATUS_SECONDS = 1.0


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
        on_progress: called at once, every second, and at the end.

    Raises:
        JournalError: the run directory cannot be used, or another process runs this batch.
        ExceptionGroup: of errors that stop a whole run: the input itself raised, an id occurs twice
            (`InvalidInputError`), a job is not what it was when the run began (`JobChangedError`), the journal cannot
            be written (`JournalError`), a money budget cannot be kept (`PriceUnknown`).

    A budget that is used up, and a server that refuses everything, end the run like *stop*, but without the hurry. The
    jobs concerned can go on when the batch is run again.

    Cancelling, like ``kill -9``, loses only what was under way: every finished answer and block is in the journal.
    """
    run_dir, stop = Path(run_dir), trio.Event() if stop is None else stop
    async with (
        open_journal(run_dir) as journal,
        open_outputs(run_dir, config.retry_failed) as outputs,
        AsyncExitStack() as models,
    ):
        batch = _Batch(runtime, journal, outputs, config, await journal.spent(), total, models)
        status = StatusFile(run_dir, runtime.model.name)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, batch, on_progress, status)
                nursery.start_soon(batch.obey, stop)
                await batch.run(jobs)
                nursery.cancel_scope.cancel()
        finally:
            report = batch.report(run_dir)
            if on_progress is not None:
                on_progress(batch.progress())
            with trio.CancelScope(shield=True):  # bounded: two small local files
                await trio.to_thread.run_sync(partial(status.write, batch.progress(), ended=True))
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
        before: Spending,
        total: int | None,
        models: AsyncExitStack,
    ) -> None:
        self._runtime, self._journal, self._outputs, self._config = runtime, journal, outputs, config
        self._models = models
        self._began = trio.current_time()
        self._scope = trio.CancelScope()
        self._ending = trio.Event()
        self._why: Literal["", "asked", "budget", "refused"] = ""
        self._reason = ""
        self._running: dict[str, _Running] = {}
        self._held: list[tuple[_Running, Exception]] = []
        self._by_name: dict[str | None, Model] = {}
        self._opening = trio.Lock()
        self._runner: Runner | None = None
        self._taken = 0
        self._source: Literal["open", "limit", "read"] = "open"
        self._ran = False
        self.watch, self.budget = Watch(total, config.limit), Budget(config, before)

    @property
    def stopped(self) -> Stopped:
        if self._ran and self._source == "read" and not self.watch.left:
            return ""  # it got through, whatever was asked for meanwhile
        if self._why:
            return self._why
        return "limit" if self._ran and self._source == "limit" else "cancelled"

    def progress(self) -> Progress:
        return self.watch.snapshot(self.budget, self._config, self._runtime.pacers, stopping=self._why)

    def report(self, run_dir: Path) -> BatchReport:
        watch, spent, total = self.watch, self.budget.spent, self.budget.total
        return BatchReport(
            done=watch.done,
            failed=watch.failed,
            skipped=watch.skipped,
            skipped_failed=watch.skipped_failed,
            left=watch.left,
            stopped=self.stopped,
            reason=self._reason,
            tokens=spent.total_tokens,
            cost=spent.cost,
            tokens_total=total.total_tokens,
            cost_total=total.cost,
            seconds=trio.current_time() - self._began,
            seconds_by_state=dict(watch.seconds),
            run_dir=str(run_dir),
        )

    async def run(self, jobs: Iterable[Job] | AsyncIterable[Job]) -> None:
        """Run them all, or until the run is to end."""
        try:
            with self._scope:
                async with (
                    open_runner(self._runtime, max_concurrent=self._config.max_concurrent) as runner,
                    aclosing(self._unfinished(jobs)) as unfinished,
                ):
                    self._runner = runner
                    async for outcome in runner.run(unfinished, self._work, activity=self._activity):
                        self.watch.ended(outcome.key)
                        await self._settle(self._running.pop(outcome.key), outcome)
            if self._why != "refused":
                await self._give_up_held()
        finally:
            self.watch.left += len(self._running) + len(self._held)
        self._ran = True

    def end(self, why: Literal["asked", "budget", "refused"], reason: str = "") -> None:
        """Start no new job, and let running ones go to their next checkpoint."""
        if not self._why:
            self._why, self._reason = why, reason
        self._ending.set()
        if self._runner is not None:
            self.watch.cut_waits(self._runner.cancel)

    async def obey(self, stop: trio.Event) -> None:
        """End when asked to, and cancel what still runs when the time to end by itself is over."""
        await stop.wait()
        self.end("asked")
        await trio.sleep(self._config.grace_seconds)
        self._scope.cancel()

    async def _settle(self, running: _Running, outcome: Outcome[dict[str, Any] | None]) -> None:
        match outcome:
            case Done(_, None) | Cancelled():
                self.watch.left += 1
            case Done(_, dict() as value):
                await self._end("done", running, value)
                await self._give_up_held()
            case Failed(_, error):
                # What is refused like this may turn out to be refused to everybody (see `ModelRefusedError`); then the
                # run ends, and these jobs are as good as not begun. Until that is known they are neither.
                self._held.append((running, error))
                same = refusal(error) is not None and refusal(error) == refusal(self._held[0][1])
                if not same or len(self._held) >= Breaker.THRESHOLD:
                    await self._give_up_held()

    async def _give_up_held(self) -> None:
        while self._held:
            running, error = self._held[0]
            if running.agent is not None:
                await drop_receipt(running.job, running.record, running.agent, self._journal)
            await self._end("failed", running, failure(error, running.job.metadata, running.last_words))
            self._held.pop(0)

    async def _unfinished(self, jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncGenerator[Job, None]:
        """The jobs that have no outcome yet (or one that is to be tried again), until a stop or the limit."""
        finished = {"done"} if self._config.retry_failed else {"done", "failed"}
        async with aclosing(in_chunks(jobs, _LOOK_AHEAD)) as chunks:
            async for chunk in chunks:
                known = await self._journal.look_up([job.id for job in chunk])
                for job, seen in zip(chunk, known, strict=True):
                    if seen is not None and seen.digest != job.digest:
                        raise JobChangedError(job.id, str(self._journal.path.parent))
                    if seen is not None and seen.state in finished:
                        self.watch.skipped += 1
                        self.watch.skipped_failed += seen.state == "failed"
                        continue
                    if self._ending.is_set():
                        return
                    if self._taken == self._config.limit:
                        self._source = "limit"
                        return
                    self._taken += 1
                    yield job
        self._source = "read"

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
        try:
            return await run_episode(job, record, agent, journal=self._journal, budget=self.budget, stop=self._ending)
        except BudgetExhausted as error:
            self.end("budget", str(error))
        except ModelRefusedError as error:
            self.end("refused", str(error))
        return None

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


async def _tell(batch: _Batch, on_progress: Callable[[Progress], None] | None, status: StatusFile) -> None:
    """At once and every second: the caller's progress, and the status file for whoever looks from outside."""
    while True:
        progress = batch.progress()
        if on_progress is not None:
            on_progress(progress)
        await trio.to_thread.run_sync(status.write, progress)
        await trio.sleep(_STATUS_SECONDS)
