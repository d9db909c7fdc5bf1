"""Agents as tasks in Trio nurseries.

Two ways to run many agents:

- `run_agents`: all or nothing. The first failure cancels the siblings, and everything that failed comes out as one
  exception group that names agents and messages.
- `open_runner`: each job for itself. A job's failure is data (`JobFailed`), jobs are taken lazily from any iterable,
  and outcomes come in the order of finishing. Memory stays constant however many jobs there are: a job is taken only
  when a place is free, and a place is free only when an outcome has been taken.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs
import trio

from ._activity import Activity
from ._deprecated import old_names
from ._errors import FatalError, InvalidInputError
from ._messages import AgentResponse
from ._outcomes import AgentFailure, AgentsFailedError, JobCancelled, JobDone, JobFailed, Outcome
from .agent import Agent
from .runtime import Runtime

T = TypeVar("T")


class RunnerJob(Protocol):
    """What a runner can run: anything with a key, unique among the jobs of one `Runner.run`."""

    @property
    def key(self) -> str: ...


J = TypeVar("J", bound=RunnerJob)


@attrs.frozen(kw_only=True)
class AgentJob:
    """One message for one agent.

    Attributes:
        key: names the outcome.
        message: what to say.
        agent: to whom; or, so that a million jobs need not be a million agents,
        memory_path: make the agent when the job's turn comes.
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
    """Say ``messages[i]`` to ``agents[i]``, all at once, and wait for all replies, in order.

    Args:
        max_concurrent: how many chats at once; all of them by default.

    Raises:
        InvalidInputError: (a ValueError) the lists differ in length, or *max_concurrent* is below 1.
        AgentsFailedError: at least one chat failed; the others were cancelled, and their notes are as their last
            finished block left them.
    """
    if len(agents) != len(messages):
        raise InvalidInputError("messages", f"{len(agents)} agents need as many messages, not {len(messages)}")
    limiter = trio.CapacityLimiter(_places(math.inf if max_concurrent is None else max_concurrent))
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


class Runner:
    """Runs jobs in the nursery of `open_runner`. All methods but `run`'s iteration return at once."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery, max_concurrent: float, deadline: float) -> None:
        self._runtime = runtime
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(max_concurrent)
        self._deadline = deadline
        self._scopes: dict[str, trio.CancelScope] = {}
        self._ended: Counter[str] = Counter()
        self._go = trio.Event()
        self._go.set()

    @property
    def max_concurrent(self) -> float:
        """How many jobs run at once; may be set while they do. Lowering it lets running jobs end."""
        return self._limiter.total_tokens

    @max_concurrent.setter
    def max_concurrent(self, value: float) -> None:
        self._limiter.total_tokens = _places(value)

    @property
    def running(self) -> tuple[str, ...]:
        """Keys of the jobs that run now, the longest-running first."""
        return tuple(self._scopes)

    def statistics(self) -> RunnerStatistics:
        return RunnerStatistics(
            running=len(self._scopes),
            done=self._ended["JobDone"],
            failed=self._ended["JobFailed"],
            cancelled=self._ended["JobCancelled"],
            max_concurrent=self.max_concurrent,
            paused=not self._go.is_set(),
        )

    def cancel(self, key: str) -> bool:
        """Cancel the running job of that key; its outcome is `JobCancelled`. False if there is none."""
        scope = self._scopes.get(key)
        if scope is not None:
            scope.cancel()
        return scope is not None

    def pause(self) -> None:
        """Start no new job until `resume`; running ones go on."""
        if self._go.is_set():
            self._go = trio.Event()

    def resume(self) -> None:
        self._go.set()

    def run(
        self,
        jobs: Iterable[J] | AsyncIterable[J],
        work: Callable[[J], Awaitable[T]],
        *,
        activity: Callable[[J], Activity] | None = None,
    ) -> trio.MemoryReceiveChannel[Outcome[T]]:
        """Start taking *jobs*, and return the channel of their outcomes, in the order of finishing.

        The channel ends when all jobs have. Closing it cancels the jobs that run. An error of the iterable itself is
        an error of the runner: it leaves `open_runner`.

        Args:
            activity: makes the job's record of what it does and until when (default: with the runner's deadline).
        """
        send, receive = trio.open_memory_channel[Outcome[T]](0)
        self._nursery.start_soon(self._feed, jobs, work, activity or self._activity, send)
        return receive

    def run_agents(
        self, jobs: Iterable[AgentJob] | AsyncIterable[AgentJob]
    ) -> trio.MemoryReceiveChannel[Outcome[AgentResponse]]:
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

    async def _feed(
        self,
        jobs: Iterable[J] | AsyncIterable[J],
        work: Callable[[J], Awaitable[T]],
        activity: Callable[[J], Activity],
        send: trio.MemorySendChannel[Outcome[T]],
    ) -> None:
        # `with send`, not `async with`: its checkpoint would put Cancelled in the place of an error on its way out.
        with send:
            async with aclosing(iterate(jobs)) as source, trio.open_nursery() as nursery:
                await self._take(source, work, activity, send, nursery)

    async def _take(
        self,
        source: AsyncIterator[J],
        work: Callable[[J], Awaitable[T]],
        activity: Callable[[J], Activity],
        send: trio.MemorySendChannel[Outcome[T]],
        nursery: trio.Nursery,
    ) -> None:
        while True:
            place = object()
            await self._limiter.acquire_on_behalf_of(place)
            try:
                await self._go.wait()
                job = await anext(source)
                if job.key in self._scopes:
                    raise InvalidInputError("jobs", f"the key {job.key!r} is running already; keys must be unique")
            except StopAsyncIteration:
                self._limiter.release_on_behalf_of(place)
                break
            except BaseException:
                self._limiter.release_on_behalf_of(place)
                raise
            # Registered here, not in the task, so that `cancel` and the check above see it at once.
            scope = self._scopes[job.key] = trio.CancelScope()
            nursery.start_soon(self._one, job, work, activity, send, scope, place, nursery, name=f"job {job.key}")

    async def _one(
        self,
        job: J,
        work: Callable[[J], Awaitable[T]],
        activity: Callable[[J], Activity],
        send: trio.MemorySendChannel[Outcome[T]],
        scope: trio.CancelScope,
        place: object,
        nursery: trio.Nursery,
    ) -> None:
        started = trio.current_time()
        outcome: Outcome[T] | None = None
        try:
            with scope:
                try:
                    with activity(job).run():
                        value = await work(job)
                except FatalError:
                    raise
                except Exception as error:  # noqa: BLE001 - the one place where a job's failure becomes data
                    outcome = JobFailed(job.key, error, trio.current_time() - started)
                else:
                    outcome = JobDone(job.key, value, trio.current_time() - started)
            if outcome is None:
                outcome = JobCancelled(job.key, trio.current_time() - started)
            del self._scopes[job.key]
            self._ended[type(outcome).__name__] += 1
            try:
                await send.send(outcome)
            except trio.BrokenResourceError:  # nobody wants outcomes any more
                nursery.cancel_scope.cancel()
        finally:
            self._scopes.pop(job.key, None)
            self._limiter.release_on_behalf_of(place)


@asynccontextmanager
async def open_runner(
    runtime: Runtime, *, max_concurrent: float = 100, deadline: float = math.inf
) -> AsyncIterator[Runner]:
    """A place to run jobs, each for itself; leaving the block cancels what still runs.

    Args:
        runtime: for the agents that jobs ask for by their memory's path.
        max_concurrent: how many jobs at once; may be changed while they run.
        deadline: working seconds a job may take, not counting waits for a rate limit or a retry.

    An exception of the block's own code comes out bare, not in a group.
    """
    if not deadline > 0:
        raise InvalidInputError("deadline", f"must be a number of seconds above 0, not {deadline!r}")
    own: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Runner(runtime, nursery, _places(max_concurrent), deadline)
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
            own = error
        nursery.cancel_scope.cancel()
    if own is not None:
        raise own


def _places(value: float) -> float:
    if isinstance(value, bool) or not (value == math.inf or (isinstance(value, int) and value >= 1)):
        raise InvalidInputError("max_concurrent", f"must be a whole number, 1 or more, not {value!r}")
    return value


async def iterate(jobs: Iterable[J] | AsyncIterable[J]) -> AsyncGenerator[J, None]:
    """Jobs of either kind of iterable; an async generator is closed in the end, in the task that ran it."""
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
    "Runner",
    "RunnerJob",
    "RunnerStatistics",
    "open_runner",
    "run_agents",
]
