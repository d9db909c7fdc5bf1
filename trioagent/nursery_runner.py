"""Agents as tasks in Trio nurseries.

Two ways to run many agents:

- `run_agents`: all or nothing. The first failure cancels the siblings, and all failures are raised as one
  exception group that names agents and messages.
- `open_runner`: independent jobs. A job's failure is data (`JobFailed`), jobs are taken lazily from any iterable,
  and outcomes arrive in order of completion. Memory use stays constant however many jobs there are: a job is taken only
  when a slot is free, and a slot becomes free only when an outcome has been taken.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import attrs
import trio
from trio_util import AsyncValue

from ._activity import Activity
from ._deprecated import old_names
from ._errors import FatalError, InvalidInputError
from ._exceptions import leaves, open_helper_nursery, without_cancelled
from ._job_slots import JobSlot, JobSlots
from ._messages import AgentResponse
from ._outcomes import AgentFailure, AgentsFailedError, JobCancelled, JobDone, JobFailed, Outcome
from .agent import Agent
from .runtime import Runtime

T = TypeVar("T")

_log = logging.getLogger("trioagent")
_slot: ContextVar[JobSlot | None] = ContextVar("trioagent_slot", default=None)  # the job's, within its task


class RunnerJob(Protocol):
    """Anything with a key that is unique among the jobs of one `Runner.run`."""

    @property
    def key(self) -> str: ...


J = TypeVar("J", bound=RunnerJob)


@attrs.frozen(kw_only=True)
class AgentJob:
    """One message for one agent.

    Attributes:
        key: names the outcome.
        message: the user's message.
        agent: the agent to send it to, or
        memory_path: the notes of an agent that is made when the job starts, so that a million jobs need not be a
            million agents.
    """

    key: str
    message: str
    agent: Agent | None = None
    memory_path: str | os.PathLike[str] | None = None

    def __attrs_post_init__(self) -> None:
        if (self.agent is None) == (self.memory_path is None):
            raise InvalidInputError(f"AgentJob {self.key!r}", "needs either an agent or a memory_path")


async def run_agents(
    agents: Sequence[Agent], messages: Sequence[str], *, max_concurrent: int | None = None
) -> list[AgentResponse]:
    """Send ``messages[i]`` to ``agents[i]``, concurrently, and wait for all replies, in order.

    Args:
        max_concurrent: how many concurrent chats; all of them by default.

    Raises:
        InvalidInputError: (a ValueError) the lists differ in length, or *max_concurrent* is below 1.
        AgentsFailedError: at least one chat failed; the others were cancelled, and their notes are as their last
            finished block left them.
    """
    if len(agents) != len(messages):
        raise InvalidInputError("messages", f"{len(agents)} agents need as many messages, not {len(messages)}")
    limiter = trio.CapacityLimiter(_checked_places(math.inf if max_concurrent is None else max_concurrent))
    responses: dict[int, AgentResponse] = {}
    failures: list[AgentFailure] = []

    async def one(index: int, agent: Agent, message: str) -> None:
        async with limiter:
            try:
                responses[index] = await agent.chat(message)
            except Exception as error:
                error.add_note(f"agent {index} ({agent.memory_path}), message {str(message)[:80]!r}")
                failures.append(AgentFailure(index, agent, message, error, str(agent.memory_path)))
                raise

    failed = False
    try:
        async with trio.open_nursery() as nursery:
            for index, (agent, message) in enumerate(zip(agents, messages, strict=True)):
                nursery.start_soon(one, index, agent, message, name=f"agent {index}")
    except* Exception:  # noqa: BLE001 - all of them are in `failures`, which knows whose they are
        failed = True
    if failed:
        raise AgentsFailedError(f"{len(failures)} of {len(agents)} agents failed; the others were cancelled", failures)
    return [responses[index] for index in range(len(agents))]  # noqa: ASYNC910 - the nursery is a checkpoint


@attrs.frozen(kw_only=True)
class RunnerStatistics:
    """A snapshot: jobs running now, and jobs ended so far by kind of outcome."""

    running: int
    done: int
    failed: int
    cancelled: int
    max_concurrent: float
    paused: bool


class OutcomeChannel(trio.abc.ReceiveChannel[Outcome[T]]):
    """The outcomes of one `Runner.run`, in order of completion; it ends when all jobs have.

    Closing it (the last clone, if it was cloned) cancels the jobs at once, and takes no more.
    """

    def __init__(self, channel: trio.MemoryReceiveChannel[Outcome[T]], cancel: Callable[[], None]) -> None:
        self._channel = channel
        self._cancel = cancel

    async def receive(self) -> Outcome[T]:
        return await self._channel.receive()

    def receive_nowait(self) -> Outcome[T]:
        return self._channel.receive_nowait()

    def statistics(self) -> trio.MemoryChannelStatistics:
        return self._channel.statistics()

    def clone(self) -> OutcomeChannel[T]:
        """Another receiving end, to be closed separately."""
        return OutcomeChannel(self._channel.clone(), self._cancel)

    def close(self) -> None:
        self._channel.close()
        if not self._channel.statistics().open_receive_channels:
            self._cancel()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@attrs.frozen(kw_only=True, eq=False)
class _JobStream(Generic[J, T]):
    """The shared state of the jobs of one `Runner.run`."""

    jobs: Iterable[J] | AsyncIterable[J]
    work: Callable[[J], Awaitable[T]]
    activity: Callable[[J], Activity]
    send: trio.MemorySendChannel[Outcome[T]]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    running: dict[str, trio.CancelScope] = attrs.field(factory=dict)


class Runner:
    """Runs jobs in the nursery of `open_runner`. All methods except `run`'s iteration return at once."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery, max_concurrent: float, deadline: float) -> None:
        self._runtime = runtime
        self._nursery = nursery
        self._slots = JobSlots(max_concurrent)
        self._begun = itertools.count()
        self._paused: AsyncValue[bool] = AsyncValue(False)
        self._deadline = deadline
        self._running: dict[trio.CancelScope, str] = {}
        self._ended: Counter[type] = Counter()

    @property
    def max_concurrent(self) -> float:
        """How many jobs run at once; settable at any time. Lowering it cancels no running job."""
        return self._slots.total

    @max_concurrent.setter
    def max_concurrent(self, value: float) -> None:
        self._slots.total = _checked_places(value)

    @property
    def running(self) -> tuple[str, ...]:
        """Keys of the jobs that run now, the longest-running first."""
        return tuple(self._running.values())

    def statistics(self) -> RunnerStatistics:
        return RunnerStatistics(
            running=len(self._running),
            done=self._ended[JobDone],
            failed=self._ended[JobFailed],
            cancelled=self._ended[JobCancelled],
            max_concurrent=self.max_concurrent,
            paused=self._paused.value,
        )

    def cancel(self, key: str) -> bool:
        """Cancel the running job of that key; its outcome is `JobCancelled`. False if there is none.

        If several `run` calls have a job of that key, all of these are cancelled.
        """
        scopes = [scope for scope, running in self._running.items() if running == key]
        for scope in scopes:
            scope.cancel()
        return bool(scopes)

    def pause(self) -> None:
        """Start no new job until `resume`; running ones continue."""
        self._paused.value = True

    def resume(self) -> None:
        self._paused.value = False

    @asynccontextmanager
    async def give_up_place(self) -> AsyncIterator[None]:
        """For a job that waits for long: in the body it does not count towards `max_concurrent`.

        Leaving the block waits for a slot, unless the job was cancelled or failed; jobs that began earlier come first.
        Outside a job it does nothing.
        """
        slot = _slot.get()
        if slot is None or not self._slots.holds(slot):
            yield
            return
        self._slots.release(slot)
        yield
        await self._slots.acquire(slot)
        await self._may_start(slot)

    def run(
        self,
        jobs: Iterable[J] | AsyncIterable[J],
        work: Callable[[J], Awaitable[T]],
        *,
        activity: Callable[[J], Activity] | None = None,
    ) -> OutcomeChannel[T]:
        """Start taking *jobs*, and return the channel of their outcomes, in order of completion.

        The channel ends when all jobs have. Closing it cancels the running jobs, and takes no more. An error of the
        iterable itself is an error of the runner: it is raised from `open_runner`. Keys are unique among the jobs of
        one call.

        Args:
            activity: makes a job's `Activity`, with its deadline (default: with the runner's deadline).
        """
        send, receive = trio.open_memory_channel[Outcome[T]](0)
        run = _JobStream(jobs=jobs, work=work, activity=activity or self._activity, send=send)
        self._nursery.start_soon(self._feed, run)
        return OutcomeChannel(receive, run.scope.cancel)

    def run_agents(self, jobs: Iterable[AgentJob] | AsyncIterable[AgentJob]) -> OutcomeChannel[AgentResponse]:
        """`run`, with one chat as the work."""

        async def chat(job: AgentJob) -> AgentResponse:
            agent = job.agent
            if agent is None:
                assert job.memory_path is not None
                agent = Agent(self._runtime, memory_path=job.memory_path)
            return await agent.chat(job.message)

        return self.run(jobs, chat)

    def _activity(self, job: RunnerJob) -> Activity:
        return Activity(self._deadline)

    async def _feed(self, run: _JobStream[J, T]) -> None:
        # `with send`, not `async with`: its checkpoint would replace an error on its way out with Cancelled.
        with run.send, run.scope:
            async with aclosing(iterate(run.jobs)) as source, trio.open_nursery() as nursery:
                await self._take(run, source, nursery)

    async def _take(self, run: _JobStream[J, T], source: AsyncIterator[J], nursery: trio.Nursery) -> None:
        while True:
            slot = JobSlot()
            await self._slots.acquire(slot)
            try:
                await self._may_start(slot)
                self._slots.idle.add(slot)
                try:
                    job = await anext(source)
                finally:
                    self._slots.idle.discard(slot)
                if not self._slots.holds(slot):  # a returning job has taken it meanwhile
                    await self._slots.acquire(slot)
                await self._may_start(slot)  # once more: the source may have taken its time
                if job.key in run.running:
                    raise InvalidInputError("jobs", f"the key {job.key!r} is running already; keys must be unique")
            except StopAsyncIteration:
                self._slots.release(slot)
                break
            except BaseException:
                self._slots.release(slot)
                raise
            # Registered here, not in the task, so that `cancel` and the check above see it at once.
            scope = run.running[job.key] = trio.CancelScope()
            self._running[scope] = job.key
            slot.order = next(self._begun)
            nursery.start_soon(self._one, run, job, scope, slot, name=f"job {job.key}")

    async def _may_start(self, slot: JobSlot) -> None:
        """Wait until the runner is not paused and *slot* is within what it may run; each wait may change the other."""
        while self._paused.value or self._slots.is_overdrawn:
            if self._paused.value:
                await self._paused.wait_value(False)
            else:  # `max_concurrent` was lowered meanwhile
                self._slots.release(slot)
                await self._slots.acquire(slot)

    async def _one(self, run: _JobStream[J, T], job: J, scope: trio.CancelScope, slot: JobSlot) -> None:
        _slot.set(slot)
        try:
            outcome = await self._outcome(run, job, scope)
            run.running.pop(job.key)
            self._running.pop(scope)
            self._ended[type(outcome)] += 1
            await self._hand_over(run, outcome)
        finally:
            run.running.pop(job.key, None)
            self._running.pop(scope, None)
            self._slots.release(slot)

    async def _hand_over(self, run: _JobStream[J, T], outcome: Outcome[T]) -> None:
        taken = False
        try:
            with suppress(trio.BrokenResourceError):  # the channel is closed; then `run.scope` is cancelled too
                await run.send.send(outcome)
                taken = True
        finally:
            if not taken and isinstance(outcome, JobFailed):
                _log.warning("job %r failed, and its outcome was not used: %r", outcome.key, outcome.error)

    async def _outcome(self, run: _JobStream[J, T], job: J, scope: trio.CancelScope) -> Outcome[T]:
        started = trio.current_time()
        try:
            with scope:
                with run.activity(job).run():
                    value = await run.work(job)
                return JobDone(job.key, value, trio.current_time() - started)
        except BaseException as error:
            failure = _job_failure(error)
            if failure is None:
                raise
            return JobFailed(job.key, failure, trio.current_time() - started)
        return JobCancelled(job.key, trio.current_time() - started)


def _job_failure(error: BaseException) -> Exception | None:
    """The job's own failure among the exceptions raised, also if it was raised during cancellation.

    None if there is only the cancellation, or if the error is one of the run itself (`FatalError`) or of the process
    (KeyboardInterrupt, SystemExit).
    """
    failure = without_cancelled(error)
    if not isinstance(failure, Exception) or any(isinstance(leaf, FatalError) for leaf in leaves(failure)):
        return None
    return failure


@asynccontextmanager
async def open_runner(
    runtime: Runtime, *, max_concurrent: float = 100, deadline: float = math.inf
) -> AsyncIterator[Runner]:
    """Run independent jobs in the block; leaving it cancels the ones that are still running.

    Args:
        runtime: for the agents that jobs name by their memory's path.
        max_concurrent: how many jobs at once; may be changed while they run.
        deadline: working seconds a job may take, not counting waits for a rate limit or a retry.

    An exception of the block's own code is raised unwrapped, not in a group.
    """
    if not deadline > 0:
        raise InvalidInputError("deadline", f"must be a number of seconds above 0, not {deadline!r}")
    async with open_helper_nursery() as nursery:
        yield Runner(runtime, nursery, _checked_places(max_concurrent), deadline)


def _checked_places(value: float) -> float:
    if isinstance(value, bool) or not (value == math.inf or (isinstance(value, int) and value >= 1)):
        raise InvalidInputError("max_concurrent", f"must be a whole number, 1 or more, not {value!r}")
    return value


async def iterate(jobs: Iterable[J] | AsyncIterable[J]) -> AsyncGenerator[J, None]:
    """Iterate over jobs of either kind of iterable; an async generator is closed at the end, in the same task."""
    if isinstance(jobs, AsyncGenerator):
        async with aclosing(jobs):
            async for job in jobs:
                yield job
    elif isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)

__all__ = [
    "AgentFailure",
    "AgentJob",
    "AgentsFailedError",
    "JobCancelled",
    "JobDone",
    "JobFailed",
    "Outcome",
    "OutcomeChannel",
    "Runner",
    "RunnerJob",
    "RunnerStatistics",
    "open_runner",
    "run_agents",
]
