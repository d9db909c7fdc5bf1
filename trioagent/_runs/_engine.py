"""The run of journaled jobs, whatever they do: one run directory, and nothing lost.

The way of a job: taken from the input when a place is free, looked up in the journal (finished: skipped; begun: goes
on where it was), worked on by a `Work`, its outcome journaled, its row written.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Literal

import attrs
import trio
from trio_util import AsyncValue

from .._activity import Activity
from .._circuit_breaker import CircuitBreaker
from .._config import BatchConfig
from .._errors import InvalidInputError, ModelError, ModelRefusedError, ModelStatusError
from .._server_behaviour import CloseEndpoint, action_of
from ..models import Model
from ..nursery_runner import JobCancelled, JobDone, JobFailed, Outcome, Runner, iterate, open_runner
from ..runtime import Runtime
from ._budget import Budget, BudgetedModel, BudgetExhaustedError
from ._journal import LOOK_AHEAD, JobChangedError, JobRecord, Journal, KnownJob, open_journal
from ._outputs import BATCH_FILES, REPORT, OutputFiles, Outputs, open_outputs, write_json
from ._pins import pin
from ._progress import Progress, ProgressTracker
from ._report import BatchReport, FailureCause, StatusFile, StopCause, Stopped
from ._spending import Spending
from ._work import J, JobEnd, Work

_STATUS_SECONDS = 1.0
_CAUSE_CHARS = 300


async def run_journaled(
    jobs: Iterable[J] | AsyncIterable[J],
    make_work: Callable[[Run[J]], Awaitable[Work[J]]],
    *,
    runtime: Runtime,
    run_dir: Path,
    config: BatchConfig,
    pins: Mapping[str, Any],
    stop: trio.Event | None = None,
    total: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    files: OutputFiles = BATCH_FILES,
) -> BatchReport:
    """Run *jobs*, or go on with them; arguments, errors and cancellation as `run_batch` describes them.

    Args:
        make_work: given the run when its journal and budget are open.
        pins: what decides what the conversations are (see `pins_of`).
        files: the outputs, by the state of the jobs in them.
    """
    stop = trio.Event() if stop is None else stop
    async with AsyncExitStack() as stack, AsyncExitStack() as models:
        journal = await stack.enter_async_context(open_journal(run_dir, files.holds))
        await pin(journal, runtime, pins, accept=config.accept_changes)
        outputs = await stack.enter_async_context(open_outputs(run_dir, config.retry_failed, files))
        run: Run[J] = Run(runtime, journal, outputs, config, Budget(config, await journal.spent()), total, models)
        work = await make_work(run)
        status = StatusFile(run_dir, runtime.model.name)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, run, on_progress, status)
                nursery.start_soon(run.obey, stop)
                await run.run(jobs, work)
                nursery.cancel_scope.cancel()
        finally:
            report = run.report(run_dir)
            if on_progress is not None:
                on_progress(run.progress())
            with trio.CancelScope(shield=True):  # bounded: one journal write and two small local files
                await run.book_waste()
                await trio.to_thread.run_sync(partial(status.write, run.progress(), ended=True))
                await trio.to_thread.run_sync(write_json, run_dir / REPORT, attrs.asdict(report))
        return report


class Run(Generic[J]):
    """The parts of one run and what they share.

    Attributes:
        stopping: why no new job starts any more and running ones are to stop at their next checkpoint, or "".
    """

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        outputs: Outputs,
        config: BatchConfig,
        budget: Budget,
        total: int | None,
        models: AsyncExitStack,
    ) -> None:
        self.runtime, self.journal, self.config, self.budget = runtime, journal, config, budget
        self.stopping: AsyncValue[StopCause] = AsyncValue("")
        self.watch = ProgressTracker(total, config.limit)
        self._outputs, self._models = outputs, models
        self._began = trio.current_time()
        self._scope = trio.CancelScope()
        self._reason = ""
        self._running: dict[str, tuple[J, JobRecord]] = {}
        self._held: list[tuple[J, JobRecord, Exception]] = []
        self._by_name: dict[tuple[str | None, str], Model] = {}
        self._opening = trio.Lock()
        self._runner: Runner | None = None
        self._taken = 0
        self._source: Literal["open", "limit", "read"] = "open"
        self._ran = False
        self._seen: set[int] = set()
        self._causes: dict[str, FailureCause] = {}
        self._source_wait = trio.CancelScope()  # the wait for the next job

    @property
    def stopped(self) -> Stopped:
        if self._ran and self._source == "read" and not self.watch.left:
            return ""  # it got through, whatever was asked for meanwhile
        cause: StopCause = self.stopping.value
        if cause:
            return cause
        return "limit" if self._ran and self._source == "limit" else "cancelled"

    def progress(self) -> Progress:
        return self.watch.snapshot(self.budget, self.config, self.runtime.rate_limiters, stopping=self.stopping.value)

    def report(self, run_dir: Path) -> BatchReport:
        watch, spent, total = self.watch, self.budget.spent, self.budget.total
        return BatchReport(
            done=watch.done,
            failed=watch.failed,
            skipped=watch.skipped,
            skipped_failed=watch.skipped_failed,
            no_reply=watch.no_reply,
            skipped_no_reply=watch.skipped_no_reply,
            left=watch.left,
            not_begun=watch.not_begun(),
            causes=tuple(sorted(self._causes.values(), key=lambda one: -one.count)),
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

    async def model(self, name: str | None = None, options: Mapping[str, Any] | None = None) -> Model:
        """The model of that name (the runtime's own if None), opened once for the run and within its budget.

        Args:
            options: request parameters (see `Runtime.open_model`); each set of them has a model of its own.
        """
        key = (name, json.dumps(options or {}, sort_keys=True))
        async with self._opening:
            if key not in self._by_name:
                model = self.runtime.model
                if name is not None or options:
                    model = await self._models.enter_async_context(self.runtime.open_model(name, options))
                self._by_name[key] = BudgetedModel(model, self.budget)
            return self._by_name[key]

    def is_stopping(self) -> bool:
        return bool(self.stopping.value)

    async def run(self, jobs: Iterable[J] | AsyncIterable[J], work: Work[J]) -> None:
        """Run them all, or until the run is to end."""
        self._work = work
        try:
            with self._scope:
                async with open_runner(self.runtime, max_concurrent=self.config.max_concurrent) as runner:
                    self._runner = runner
                    # The runner closes the generator, in the task that iterates over it.
                    async for outcome in runner.run(self._unfinished(jobs), self._one, activity=self._activity):
                        self.watch.ended(outcome.key)
                        await self._settle(*self._running.pop(outcome.key), outcome)
            if self.stopping.value != "refused":
                await self._give_up_held()
        finally:
            self.watch.left += len(self._running) + len(self._held)
        self._ran = True

    def end(self, why: Literal["asked", "budget", "refused"], reason: str = "") -> None:
        """Start no new job, and let running ones go to their next checkpoint."""
        if not self.stopping.value:
            self.stopping.value, self._reason = why, reason
        self._source_wait.cancel()
        if self._runner is not None and self._work.can_cut_waits:
            self.watch.cut_waits(self._runner.cancel)

    async def obey(self, stop: trio.Event) -> None:
        """End when asked to, and cancel what still runs when the time to end by itself is over."""
        await stop.wait()
        self.end("asked")
        await trio.sleep(self.config.grace_seconds)
        self._scope.cancel()

    async def book_waste(self) -> None:
        """Journal what answers cost that came to nothing and were of no job that ended."""
        if (waste := self.budget.take_waste()) != Spending():
            await self.journal.spend(waste)

    async def _settle(self, job: J, record: JobRecord, outcome: Outcome[JobEnd | None]) -> None:
        match outcome:
            case JobDone(_, None) | JobCancelled():
                self.watch.left += 1
            case JobDone(_, JobEnd() as ended):
                await self._end(job, record, ended)
                await self._give_up_held()
            case JobFailed(_, error):
                # What is refused like this may turn out to be refused to everybody (see `ModelRefusedError`); then the
                # run ends, and these jobs are as good as not begun. Until that is known they are neither.
                self._held.append((job, record, error))
                same = _closes(error) is not None and _closes(error) == _closes(self._held[0][2])
                # Those under way when the breaker opens are refused by the server itself.
                if not same or len(self._held) > CircuitBreaker.THRESHOLD + self.config.max_concurrent:
                    await self._give_up_held()

    async def _give_up_held(self) -> None:
        while self._held:
            job, record, error = self._held[0]
            await self._end(job, record, JobEnd("failed", await self._work.failure(job, record, error)))
            self._count_cause(job, error)
            self._held.pop(0)

    def _count_cause(self, job: J, error: Exception) -> None:
        status = f" {error.status}" if isinstance(error, ModelStatusError) else ""
        cause = f"{type(error).__name__}{status}"
        known = self._causes.get(cause)
        self._causes[cause] = (
            FailureCause(cause=cause, count=1, example=job.key, message=str(error)[:_CAUSE_CHARS])
            if known is None
            else attrs.evolve(known, count=known.count + 1)
        )

    async def _unfinished(self, jobs: Iterable[J] | AsyncIterable[J]) -> AsyncGenerator[J, None]:
        """The jobs that have no outcome yet (or one that is to be tried again), until a stop or the limit."""
        async with aclosing(_in_chunks(jobs, LOOK_AHEAD)) as chunks:
            while chunk := await self._next_chunk(chunks):
                for job in chunk:
                    self._check_new(job)
                known = await self.journal.look_up([job.key for job in chunk])
                for job, seen in zip(chunk, known, strict=True):
                    if seen is not None and seen.digest != job.digest:
                        raise JobChangedError(job.key, str(self.journal.path.parent))
                    if seen is not None and seen.state != "running" and not self._tries_again(seen):
                        self.watch.skipped += 1
                        self.watch.skipped_failed += seen.state == "failed"
                        self.watch.skipped_no_reply += seen.no_reply
                        continue
                    if self.is_stopping():
                        return
                    if self._taken == self.config.limit:
                        self._source = "limit"
                        return
                    self._taken += 1
                    yield job
        if not self._source_wait.cancelled_caught:
            self._source = "read"

    async def _next_chunk(self, chunks: AsyncGenerator[list[J], None]) -> list[J]:
        """Empty at the end of the input, or when the run is to end: an open source may never give another job."""
        with trio.CancelScope() as self._source_wait:
            if self.is_stopping():
                self._source_wait.cancel()
            return await anext(chunks, [])
        return []

    def _tries_again(self, seen: KnownJob) -> bool:
        return self.config.retry_failed and (seen.state == "failed" or seen.no_reply)

    def _check_new(self, job: J) -> None:
        """Refuse an id that occurs twice, however far apart; about 100 bytes a job."""
        mark = int.from_bytes(blake2b(job.key.encode(), digest_size=16).digest())
        if mark in self._seen:
            raise InvalidInputError("jobs", f"the id {job.key!r} occurs twice; give each job an id of its own")
        self._seen.add(mark)

    def _activity(self, job: J) -> Activity:
        return self.watch.activity(job.key, job.deadline or self.config.deadline or math.inf)

    async def _one(self, job: J) -> JobEnd | None:
        with trio.CancelScope(shield=True):  # bounded: one local write; whatever comes of the job, it has a record
            record = await self.journal.begin(job.key, job.digest)
        self._running[job.key] = (job, record)
        try:
            return await self._work.run(job, record)
        except BudgetExhaustedError as error:
            self.end("budget", str(error))
        except ModelRefusedError as error:
            self.end("refused", str(error))
        return None

    async def _end(self, job: J, record: JobRecord, ended: JobEnd) -> None:
        """Journal an outcome, then write its row: a row never tells what the journal does not know."""
        with trio.CancelScope(shield=True):  # bounded: two local writes
            waste = self.budget.take_waste()
            await self.journal.finish(job.key, ended.state, ended.outcome, waste, no_reply=ended.no_reply)
            await trio.to_thread.run_sync(self._outputs.add, ended.state, job.key, record.attempts, ended.outcome)
        self.watch.no_reply += ended.no_reply
        if ended.state == "done":
            self.watch.done += 1
        else:
            self.watch.failed += 1


def _closes(error: Exception) -> CloseEndpoint | None:
    """Why *error* closes its endpoint, or None if it does not."""
    action = action_of(error) if isinstance(error, ModelError) else None
    return action if isinstance(action, CloseEndpoint) else None


async def _tell(run: Run[Any], on_progress: Callable[[Progress], None] | None, status: StatusFile) -> None:
    """At once and every second: the caller's progress, and the status file for whoever looks from outside."""
    while True:
        progress = run.progress()
        if on_progress is not None:
            on_progress(progress)
        await trio.to_thread.run_sync(status.write, progress)
        await trio.sleep(_STATUS_SECONDS)


async def _in_chunks(jobs: Iterable[J] | AsyncIterable[J], size: int) -> AsyncGenerator[list[J], None]:
    """The same jobs, so many at a time; those of an async source one by one, for the next may be long in coming."""
    size = 1 if isinstance(jobs, AsyncIterable) else size
    chunk: list[J] = []
    async with aclosing(iterate(jobs)) as source:
        async for job in source:
            chunk.append(job)
            if len(chunk) == size:
                yield chunk
                chunk = []
    if chunk:
        yield chunk
