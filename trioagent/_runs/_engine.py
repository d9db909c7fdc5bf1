"""Runs of journaled jobs of any kind: one run directory, which survives any kill.

The stages of a job: it is taken from the input when a slot is free, looked up in the journal (finished: skipped; begun:
resumed), worked on by a `Work`, its outcome is journaled, and its row is written.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import attrs
import trio
from trio_util import AsyncValue

from .. import _span_names as names
from .._activity import WAITING, Activity
from .._config import BatchConfig
from .._errors import EndpointHeldError, InvalidInputError, MemoryStorageError, ModelError, ModelStatusError
from .._exceptions import leaves, open_helper_nursery
from .._prompt import said_date
from .._remote import nodes_of
from .._server_behaviour import GATEWAY_STATUSES, OVERLOAD_STATUSES, CloseEndpoint, HoldEndpoint, action_of
from .._tracing import ActiveSpan, start_span
from ..models import Available, Closed, EndpointHealth, EndpointState, Model
from ..nursery_runner import JobCancelled, JobDone, JobFailed, Outcome, Runner, iterate, open_runner
from ..runtime import Cluster, Runtime
from ._budget import Budget, BudgetedModel, BudgetExhaustedError
from ._control import Control, serve_control
from ._journal import LOOK_AHEAD, JobChangedError, JobRecord, Journal, JournalError, KnownJob, open_journal
from ._outages import DiskWait, Outages, health_of
from ._outputs import BATCH_FILES, REPORT, OutputFiles, Outputs, RunDirError, open_outputs, write_json
from ._pins import pin
from ._progress import Progress, ProgressTracker
from ._report import BatchReport, FailureCause, StatusFile, StopCause, Stopped, count_start, nothing_run, with_totals
from ._spending import Spending
from ._work import J, JobEnd, Work

T = TypeVar("T")

_log = logging.getLogger("trioagent")
_STATUS_SECONDS = 1.0
_DIGESTS = 1 << 128
_CAUSE_CHARS = 300
_MOST_FAILED = 10_000  # failed jobs that are kept so that they can be put back
_MOST_HELD = 1000  # jobs that wait for servers or room, beyond those that run; each is a task with its conversation
_ERRING = "erring"  # in the journal, by job number: after which event, and in how many starts, a job waited in vain
_MOST_STARTS = 5  # consecutive starts after which a job fails if its server answers it with the same error each time


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
    takes: Callable[[J], bool] = lambda job: True,
    kind: str = "batch",
    cluster: Cluster | None = None,
) -> BatchReport:
    """Run *jobs*, or resume them; arguments, errors and cancellation as described for `run_batch`.

    Args:
        make_work: called with the run when its journal and budget are open.
        pins: settings that determine the conversations (see `pins_of`).
        files: the outputs, by the state of the jobs in them.
        takes: which of the jobs belong to this run; the others belong to other runs.
        kind: of run, for traces.
        cluster: sends requests and runs blocks; by default this process does.
    """
    stop = trio.Event() if stop is None else stop
    async with AsyncExitStack() as stack, AsyncExitStack() as models:
        attributes = {names.OPERATION: names.INVOKE_WORKFLOW, names.AGENT_NAME: kind}
        if cluster is not None:
            runtime = await stack.enter_async_context(cluster.open(runtime))
        span = stack.enter_context(start_span(runtime.tracing, f"{names.INVOKE_WORKFLOW} {kind}", attributes))
        outages = Outages(runtime.endpoints, config.outage_patience)
        try:
            async with open_helper_nursery() as nursery:
                nursery.start_soon(_end_waits, outages, stop)
                journal = await _with_room(outages, stack, partial(open_journal, run_dir, files.holds))
                if span is not None:
                    span.set(names.RUN_ID, journal.run_id)
                journal.disk_wait = DiskWait(outages)
                today = await pin(journal, runtime, pins, accept=config.accept_changes)
                outputs = await _with_room(outages, stack, partial(open_outputs, run_dir, config.retry_failed, files))
                budget = Budget(config, await journal.spent())
                run: Run[J] = Run(runtime, journal, outputs, config, budget, total, models, outages, takes, today)
                work = await make_work(run)
                await count_start(journal)
        except (JournalError, RunDirError) as error:
            if not error.disk_full:
                raise
            return nothing_run(run_dir, total, "asked" if stop.is_set() else "disk", str(error))
        stack.enter_context(runtime.endpoints.hold_outages())
        status = StatusFile(run_dir, runtime.model.name)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, run, on_progress, status)
                nursery.start_soon(run.obey, stop)
                await nursery.start(serve_control, Control(run, stop), run_dir)
                await run.run(jobs, work)
                nursery.cancel_scope.cancel()
        finally:
            run.outages.end()
            report = run.report(run_dir)
            if on_progress is not None:
                on_progress(run.progress())
            with trio.CancelScope(shield=True):  # bounded: one journal write and two small local files
                with _unless_full(run):
                    await run.book_waste()
                    await run.book_waits()
                    await run.book_in_vain()
                    report = await with_totals(journal, report, run.input_digest)
                with _unless_full(run):
                    await trio.to_thread.run_sync(partial(status.write, run.progress(), ended=True))
                    await trio.to_thread.run_sync(write_json, run_dir / REPORT, attrs.asdict(report))
                if span is not None:
                    _record_run(span, report)
        return report


def _record_run(span: ActiveSpan, report: BatchReport) -> None:
    counts = {"done": report.done, "failed": report.failed, "skipped": report.skipped, "left": report.left}
    for name, count in counts.items():
        span.set(f"{names.RUN_JOBS}.{name}", count)
    if report.stopped:
        span.set(names.RUN_STOPPED, report.stopped)


class Run(Generic[J]):
    """The parts of one run and their shared state.

    Attributes:
        stopping: why no new job starts any more and running ones should stop at their next checkpoint, or "".
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
        outages: Outages,
        takes: Callable[[J], bool],
        today: str,
    ) -> None:
        self._today = today
        self.runtime, self.journal, self.config, self.budget = runtime, journal, config, budget
        self.stopping: AsyncValue[StopCause] = AsyncValue("")
        self.watch = ProgressTracker(total, config.limit, journal.waits)
        self._outputs, self._models, self._takes = outputs, models, takes
        self._began = trio.current_time()
        self._scope = trio.CancelScope()
        self._reason = ""
        self.outages = outages
        self._in_vain: dict[str, tuple[int, int]] = {}  # see `_errs_alone`
        self._left_by_outage = 0
        self._given_up: dict[str, tuple[StopCause, str]] = {}  # by endpoint: why its jobs are left to be resumed
        self._passed_over = 0  # jobs of the input that were not begun for that reason
        self._running: dict[str, tuple[J, JobRecord]] = {}
        self._by_name: dict[tuple[str | None, str], BudgetedModel] = {}
        self._opening = trio.Lock()
        self._runner: Runner | None = None
        self._taken = 0
        self._source: Literal["open", "limit", "read"] = "open"
        self._ran = False
        self._seen: set[int] = set()
        self._input = 0  # the sum of the jobs' digests, which is the same in any order
        self._causes: dict[str, FailureCause] = {}
        self._source_wait = trio.CancelScope()  # the wait for the next job
        self._failed: dict[str, tuple[J, str | None]] = {}  # that may be put back, and why; None: in an earlier start
        self._helpers: trio.Nursery | None = None  # for jobs that were put back
        self._put_back: AsyncValue[int] = AsyncValue(0)  # how many of them have not ended

    @property
    def stopped(self) -> Stopped:
        if self._ran and self._source == "read" and not self.watch.left and not self._passed_over:
            return ""  # it finished, whatever was requested meanwhile
        cause: StopCause = self.stopping.value
        if cause:
            return cause
        if self._ran and self._given_up:
            return next(iter(self._given_up.values()))[0]
        return "limit" if self._ran and self._source == "limit" else "cancelled"

    @property
    def input_digest(self) -> str | None:
        """Of all jobs of the input, in any order; None if it was not read to its end."""
        return f"{self._input % _DIGESTS:032x}" if self._source == "read" else None

    def progress(self) -> Progress:
        return self.watch.snapshot(
            self.budget,
            self.config,
            self.runtime.rate_limiters,
            self.outages,
            stopping=self.stopping.value,
            nodes=nodes_of(self.runtime.remote),
        )

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
            reason=self._reason or "; ".join(dict.fromkeys(reason for _, reason in self._given_up.values())),
            tokens=spent.total_tokens,
            cost=spent.cost,
            tokens_total=total.total_tokens,
            cost_total=total.cost,
            seconds=trio.current_time() - self._began,
            seconds_by_state=dict(watch.seconds),
            run_dir=str(run_dir),
            cluster=None if self.runtime.remote is None else self.runtime.remote.use(),
        )

    def date_for(self, system_prompt: str | None) -> str:
        """The date for an agent of this run, for its `AgentConfig.date`.

        Args:
            system_prompt: its own prompt, if it has one.
        """
        said = said_date(self.config.date, is_own_prompt=system_prompt is not None, today=self._today)
        return said or "none"

    async def model(self, name: str | None = None, options: Mapping[str, Any] | None = None) -> Model:
        """The model of that name (the runtime's own if None), opened once for the run and within its budget.

        Args:
            options: request parameters (see `Runtime.open_model`); a separate model is opened for each set.
        """
        key = _model_key(name, options)
        async with self._opening:
            if key not in self._by_name:
                model = self.runtime.model
                if name is not None or options:
                    model = await self._models.enter_async_context(self.runtime.open_model(name, options))
                self._by_name[key] = self.watched(model)
            return self._by_name[key]

    def watched(self, model: Model) -> BudgetedModel:
        """*model* within the run's budget, with waits while its server is unavailable."""
        health = health_of(model)
        if health is not None and not health.holds:  # opened outside this run's runtime
            self._models.enter_context(self.outages.watch(health))
        return BudgetedModel(model, self.budget, self.outages)

    def endpoints_of(self, name: str | None = None, options: Mapping[str, Any] | None = None) -> list[EndpointHealth]:
        """The endpoint of the model that `model` returns for the same arguments, if it was opened and has one."""
        model = self._by_name.get(_model_key(name, options))
        return [] if model is None or model.health is None else [model.health]

    def is_stopping(self) -> bool:
        return bool(self.stopping.value)

    async def run(self, jobs: Iterable[J] | AsyncIterable[J], work: Work[J]) -> None:
        """Run them all, or until the run is to end."""
        self._work = work
        self._is_open_source = isinstance(jobs, AsyncIterable)
        try:
            with self._scope:
                async with open_runner(self.runtime, max_concurrent=self.config.max_concurrent) as runner:
                    self._runner = runner
                    self.outages.give_up_place = runner.give_up_place
                    async with open_helper_nursery() as self._helpers:
                        # The runner closes the generator, in the task that iterates over it.
                        await self._settle_all(self._unfinished(jobs))
                        await self._put_back.wait_value(0)
                        self._helpers = None
        except Exception as error:
            full = [leaf for leaf in leaves(error) if getattr(leaf, "disk_full", False)]
            if len(full) < len(list(leaves(error))):
                raise
            self.end("disk", str(full[0]))
        finally:
            self.watch.left += len(self._running)
        self._ran = True

    async def _settle_all(self, jobs: Iterable[J] | AsyncIterable[J]) -> None:
        async for outcome in self.runner.run(jobs, self._one, activity=self._activity):
            self.watch.ended(outcome.key)
            await self._settle(*self._running.pop(outcome.key), outcome)

    @property
    def runner(self) -> Runner:
        """The runner of the jobs.

        Raises:
            InvalidInputError: they have not begun yet.
        """
        if self._runner is None:
            raise InvalidInputError("the run", "has not begun yet; ask again in a moment")
        return self._runner

    def put_back(self, key: str) -> None:
        """Run a failed job again, concurrently with the rest.

        Raises:
            InvalidInputError: it has not failed, or the run is about to end.
        """
        if self._helpers is None or self.is_stopping():
            raise InvalidInputError("the run", "is about to end; resume it with --retry-failed")
        if key not in self._failed:
            problem = f"{key!r} has not failed, as far as this run knows; failures.jsonl names those that have"
            raise InvalidInputError("job", problem)
        job, cause = self._failed.pop(key)
        if cause is None:
            self.watch.skipped -= 1
            self.watch.skipped_failed -= 1
        else:
            self.watch.failed -= 1
            self._uncount_cause(cause)
        self._outputs.expect_changes("failed")
        self._put_back.value += 1
        self._helpers.start_soon(self._run_again, job)

    async def _run_again(self, job: J) -> None:
        try:
            await self._settle_all([job])
        finally:
            self._put_back.value -= 1

    def stop_now(self, reason: str) -> None:
        """Cancel running jobs, and end."""
        self.end("asked", reason)
        self._scope.cancel()

    def end(self, why: StopCause, reason: str = "") -> None:
        """Start no new job, and let running ones continue to their next checkpoint."""
        if not self.stopping.value:
            self.stopping.value, self._reason = why, reason
        if why in ("asked", "disk"):
            self.outages.end()
        self._source_wait.cancel()
        if self._runner is not None:
            self._runner.resume()  # so that a paused reader of the input sees that there is no next job
            self.watch.cut_waits(self._runner.cancel, WAITING if self._work.can_cut_waits else {"held"})

    async def obey(self, stop: trio.Event) -> None:
        """End when asked to, and cancel running jobs when the grace period is over."""
        try:
            await stop.wait()
            self.end("asked")
            await trio.sleep(self.config.grace_seconds)
            self._scope.cancel()
        finally:
            self.outages.end()  # also when this is cancelled: then no shielded write waits for a full disk any more

    async def book_waits(self) -> None:
        """Journal the waits of jobs that are left to be resumed."""
        await self.journal.add_waits()

    async def book_waste(self) -> None:
        """Journal the cost of answers that failed and belong to no job that ended."""
        if (waste := self.budget.take_waste()) != Spending():
            await self.journal.spend(waste)

    async def _settle(self, job: J, record: JobRecord, outcome: Outcome[JobEnd | None]) -> None:
        match outcome:
            case JobDone(_, None) | JobCancelled():
                self._work.forget(job)
                self.watch.left += 1
            case JobDone(_, JobEnd() as ended):
                await self._end(job, record, ended)
                if ended.state == "failed":
                    self._remember_failed(job, "")
            case JobFailed(_, error):
                await self._end(job, record, JobEnd("failed", await self._work.failure(job, record, error)))
                self._remember_failed(job, self._count_cause(job, error))

    def _remember_failed(self, job: J, cause: str | None) -> None:
        """Keep it so that it can be put back; bounded, since jobs may be large and all of them may fail."""
        if len(self._failed) < _MOST_FAILED:
            self._failed[job.key] = job, cause

    def _uncount_cause(self, cause: str) -> None:
        known = self._causes.pop(cause, None)
        if known is not None and known.count > 1:
            self._causes[cause] = attrs.evolve(known, count=known.count - 1)

    def _count_cause(self, job: J, error: Exception) -> str:
        status = f" {error.status}" if isinstance(error, ModelStatusError) else ""
        cause = f"{type(error).__name__}{status}"
        known = self._causes.get(cause)
        self._causes[cause] = (
            FailureCause(cause=cause, count=1, example=job.key, message=str(error)[:_CAUSE_CHARS])
            if known is None
            else attrs.evolve(known, count=known.count + 1)
        )
        return cause

    async def _unfinished(self, jobs: Iterable[J] | AsyncIterable[J]) -> AsyncGenerator[J, None]:
        """The jobs that have no outcome yet (or one that is to be retried), until a stop or the limit."""
        async with aclosing(_in_chunks(jobs, LOOK_AHEAD)) as chunks:
            while chunk := await self._next_chunk(chunks):
                for job in chunk:
                    self._check_new(job)
                own = [job for job in chunk if self._takes(job)]
                known = await self.journal.look_up([job.key for job in own])
                for job, seen in zip(own, known, strict=True):
                    if seen is not None and seen.digest != job.digest:
                        raise JobChangedError(job.key, str(self.journal.path.parent))
                    if seen is not None and seen.state != "running" and not self._tries_again(seen):
                        self._count_skipped(seen)
                        if seen.state == "failed":
                            self._remember_failed(job, None)
                        continue
                    if self._is_given_up(job):
                        self._pass_over(seen)
                        continue
                    await self._room()
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
        """Empty at the end of the input, or when the run should end: an open source may never yield another job."""
        with trio.CancelScope() as self._source_wait:
            if self.is_stopping():
                self._source_wait.cancel()
            return await anext(chunks, [])
        return []

    def _tries_again(self, seen: KnownJob) -> bool:
        return self.config.retry_failed and (seen.state == "failed" or seen.no_reply)

    def _check_new(self, job: J) -> None:
        """Refuse a duplicate id, however far apart; about 100 bytes a job."""
        mark = int.from_bytes(blake2b(job.key.encode(), digest_size=16).digest())
        if mark in self._seen:
            raise InvalidInputError("jobs", f"the id {job.key!r} occurs twice; give each job an id of its own")
        self._seen.add(mark)
        self._input += int.from_bytes(blake2b(f"{job.digest} {job.key}".encode(), digest_size=16).digest())

    def _activity(self, job: J) -> Activity:
        return self.watch.activity(job.key, job.deadline or self.config.deadline or math.inf)

    async def _one(self, job: J) -> JobEnd | None:
        record = await self._begin(job)
        disk = DiskWait(self.outages)
        try:
            # The turn to probe is passed on when the job ends, or has to wait once more.
            async with AsyncExitStack() as turn:
                while True:
                    try:
                        return await self._work.run(job, record)
                    except ModelError as error:
                        failure: ModelError | MemoryStorageError = error
                    except MemoryStorageError as error:
                        if not error.disk_full:
                            raise
                        failure = error
                    await turn.aclose()
                    if isinstance(failure, ModelError):
                        await turn.enter_async_context(self.outages.turn(failure))
                    else:
                        await self._wait_for_room(disk, failure)
                    before, record = record, await self._begin(job)
                    if len(record.events) > len(before.events):
                        disk.over()
        except BudgetExhaustedError as error:
            self.end("budget", str(error))
        except MemoryStorageError as error:
            if not error.disk_full:
                raise
            self.end("disk", str(error))
        except ModelError as error:
            cause = self._leaves_open(job, error)
            if cause is None:
                raise
            if cause == "outage" and (own := await self._errs_alone(record, error)) is not None:
                raise own from None
            self._left_by_outage += cause == "outage"
            self._give_up(job, cause, str(error))
        finally:
            disk.over()
        return None

    async def _begin(self, job: J) -> JobRecord:
        with trio.CancelScope(shield=True):  # bounded: one local write; every job that starts has a record
            record = await self.journal.begin(job.key, job.digest)
        self._running[job.key] = (job, record)
        return record

    async def _wait_for_room(self, disk: DiskWait, error: MemoryStorageError) -> None:
        """Wait, without the job's slot, before a full disk is retried; raises *error* when the patience is over."""
        with self.outages.one_more_waits():
            async with self.outages.give_up_place():
                if not await disk.wait(error.path, error.detail):
                    raise error

    async def _errs_alone(self, record: JobRecord, error: ModelError) -> ModelError | None:
        """The error of a job's own request that no further start will cure, as far as can be told; None if one may.

        An unavailable server fails for all jobs. If it fails until the patience is over in two consecutive starts, and
        in the first of them for no other job, the cause is this request.
        """
        own = error.__cause__
        if not (isinstance(own, ModelStatusError) and own.status not in OVERLOAD_STATUSES | GATEWAY_STATUSES):
            return None
        before = await self.journal.read_meta(_ERRING) or {"alone": False, "jobs": {}}
        key, events = str(record.seq), len(record.events)
        events_then, starts = before["jobs"].get(key, (-1, 0))
        starts = starts + 1 if events_then == events else 1
        if starts > 1 and (before["alone"] or starts >= _MOST_STARTS):
            return own
        self._in_vain[key] = (events, starts)
        return None

    async def book_in_vain(self) -> None:
        """Journal which jobs have waited in vain, for the next start (`_errs_alone`)."""
        alone = self._left_by_outage == 1
        if self._in_vain or await self.journal.read_meta(_ERRING) is not None:
            await self.journal.write_meta({_ERRING: {"alone": alone, "jobs": self._in_vain}})

    def _leaves_open(self, job: J, error: ModelError) -> StopCause | None:
        """Why a job that failed with *error* is to be resumed; None if it has failed permanently."""
        match action_of(error):
            case HoldEndpoint() if isinstance(error, EndpointHeldError):
                return "outage"
            case CloseEndpoint("model") if self._work.chose_model(job):
                return None
            case CloseEndpoint("quota" | "wait"):
                return "quota"
            case CloseEndpoint():
                return "refused"
        return None

    def _give_up(self, job: J, cause: StopCause, reason: str) -> None:
        """From now on leave the jobs of an endpoint to another run, except one that probes it from time to time."""
        bad = [health for health in self._work.endpoints(job) if not isinstance(health.state.value, Available)]
        for name in [health.name for health in bad] or [""]:
            self._given_up.setdefault(name, (cause, reason))
        if self._is_open_source and self._all_given_up():
            self.end(cause, reason)

    def _all_given_up(self) -> bool:
        """Whether no endpoint that was used so far is usable."""
        healths = [model.health for model in self._by_name.values()]
        return all(
            health is not None and health.name in self._given_up and not isinstance(health.state.value, Available)
            for health in healths
        )

    def _is_given_up(self, job: J) -> bool:
        now = trio.current_time()
        states = [health.state.value for health in self._work.endpoints(job) if health.name in self._given_up]
        # If a probe is due, the job may probe the endpoint, which may have recovered.
        return any(not isinstance(state, Available) and now < state.next_probe for state in states) and not (
            self._work.chose_model(job) and any(_has_no_model(state) for state in states)
        )

    def _pass_over(self, seen: KnownJob | None) -> None:
        match seen:
            case None:
                self._passed_over += 1
            case KnownJob("running"):
                self.watch.left += 1
            case _:
                self._count_skipped(seen)

    def _count_skipped(self, seen: KnownJob) -> None:
        self.watch.skipped += 1
        self.watch.skipped_failed += seen.state == "failed"
        self.watch.skipped_no_reply += seen.no_reply

    async def _room(self) -> None:
        """Wait until no more jobs wait for servers than may be held in memory; no checkpoint, if there is room."""
        if self.outages.waiting.value < _MOST_HELD:
            return
        with trio.CancelScope() as self._source_wait:
            if not self.is_stopping():
                await self.outages.waiting.wait_value(lambda waiting: waiting < _MOST_HELD)

    async def _write_rows(self, refused: RunDirError) -> None:
        """Write the rows that a disk has *refused* once there is room, if it was full."""
        disk = DiskWait(self.outages)
        try:
            while refused.disk_full and await disk.wait(refused.path, refused.detail):
                try:
                    return await trio.to_thread.run_sync(self._outputs.flush)
                except RunDirError as error:
                    refused = error
            raise refused
        finally:
            disk.over()

    async def _end(self, job: J, record: JobRecord, ended: JobEnd) -> None:
        """Journal an outcome, then write its row, so that a row never contains what the journal does not."""
        with trio.CancelScope(shield=True):  # bounded: two local writes
            waste = self.budget.take_waste()
            row = partial(self._outputs.add, ended.state, job.key, record.attempts, ended.outcome)
            try:
                await self.journal.finish(
                    job.key,
                    ended.state,
                    ended.outcome,
                    waste,
                    no_reply=ended.no_reply,
                    changes=record.changes,
                    earlier=ended.earlier,
                    afterwards=row,
                )
            except RunDirError as error:
                await self._write_rows(error)
        if ended.afterwards is not None:
            await ended.afterwards()
        self.watch.no_reply += ended.no_reply
        if ended.state == "done":
            self.watch.done += 1
        else:
            self.watch.failed += 1


def _model_key(name: str | None, options: Mapping[str, Any] | None) -> tuple[str | None, str]:
    return name, json.dumps(options, sort_keys=True) if options else ""


def _has_no_model(state: EndpointState) -> bool:
    return isinstance(state, Closed) and state.action == CloseEndpoint("model")


@contextmanager
def _unless_full(run: Run[Any]) -> Iterator[None]:
    """Ignore writes that a full disk refuses here if the run stops for that reason, or may yet wait for room."""
    try:
        yield
    except (JournalError, RunDirError) as error:
        if not error.disk_full:
            raise


async def _end_waits(outages: Outages, stop: trio.Event) -> None:
    """End all waits for a disk once the run is asked to stop, before it has begun."""
    await stop.wait()
    outages.end()


async def _with_room(
    outages: Outages, stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[T]]
) -> T:
    """Enter the context manager of *opening*, for *stack* to leave; waits for room on a full disk."""
    disk = DiskWait(outages)
    try:
        while True:
            try:
                return await stack.enter_async_context(opening())
            except (JournalError, RunDirError) as error:
                if not error.disk_full:
                    raise
                full = error
            _log.warning("%s; waiting for room", full)
            if not await disk.wait(full.path, str(full)):
                raise full
    finally:
        disk.over()


async def _tell(run: Run[Any], on_progress: Callable[[Progress], None] | None, status: StatusFile) -> None:
    """At once and every second, update the caller's progress, and the status file for outside readers."""
    while True:
        progress = run.progress()
        if on_progress is not None:
            on_progress(progress)
        with _unless_full(run):
            await trio.to_thread.run_sync(status.write, progress)
        await trio.sleep(_STATUS_SECONDS)


async def _in_chunks(jobs: Iterable[J] | AsyncIterable[J], size: int) -> AsyncGenerator[list[J], None]:
    """The same jobs, so many at a time; those of an async source one by one, as the next may take long to arrive."""
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
