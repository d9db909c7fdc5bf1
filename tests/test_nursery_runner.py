"""Agents as tasks: order, back-pressure, failure, cancellation, all in virtual time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagent._activity import doing
from trioagent._errors import DeadlineExceededError, FatalError, InvalidInputError, ModelStatusError
from trioagent._exceptions import leaves
from trioagent._messages import AgentResponse
from trioagent.agent import Agent
from trioagent.nursery_runner import (
    AgentJob,
    AgentsFailedError,
    JobCancelled,
    JobDone,
    JobFailed,
    Runner,
    open_runner,
    run_agents,
)
from trioagent.runtime import Runtime

NO_RUNTIME = cast(Runtime, None)  # these jobs need neither model nor sandbox


@attrs.frozen
class Sleep:
    """A job that sleeps, then fails or tells how long it slept."""

    key: str
    seconds: float
    error: Exception | None = None


async def work(job: Sleep) -> float:
    await trio.sleep(job.seconds)
    if job.error is not None:
        raise job.error
    return job.seconds


class FakeAgent:
    """What `run_agents` needs of an agent."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.memory_path = f"memories/{seconds}"
        self.state = "idle"

    async def chat(self, message: str) -> AgentResponse:
        self.state = "running"
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.state = "cancelled"
            raise
        if self.error is not None:
            raise self.error
        self.state = "done"
        return AgentResponse(thoughts="", python_block="", reply=message.upper())


def fakes(*agents: FakeAgent) -> list[Agent]:
    return cast(list[Agent], list(agents))


async def test_run_agents_keeps_the_order(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    responses = await run_agents(fakes(FakeAgent(3), FakeAgent(1), FakeAgent(2)), ["a", "b", "c"])
    assert [response.reply for response in responses] == ["A", "B", "C"]
    assert trio.current_time() - began == 3


async def test_run_agents_bounds_how_many_at_once(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await run_agents(fakes(*(FakeAgent(1) for _ in range(5))), list("abcde"), max_concurrent=2)
    assert trio.current_time() - began == 3


async def test_a_failure_cancels_the_siblings_and_names_the_agent(autojump_clock: MockClock) -> None:
    agents = [FakeAgent(1), FakeAgent(2, ModelStatusError(500)), FakeAgent(9)]
    began = trio.current_time()
    with pytest.raises(AgentsFailedError) as caught:
        await run_agents(fakes(*agents), ["a", "b", "c"])
    assert trio.current_time() - began == 2
    assert [agent.state for agent in agents] == ["done", "running", "cancelled"]
    (failure,) = caught.value.failures
    assert (failure.index, failure.message, failure.error) == (1, "b", agents[1].error)
    assert cast(Any, failure.agent) is agents[1]
    assert caught.value.subgroup(ModelStatusError) is not None
    assert "message 'b'" in failure.error.__notes__[0]


async def test_run_agents_is_cancelled_from_outside(autojump_clock: MockClock) -> None:
    agents = [FakeAgent(5), FakeAgent(6)]
    with trio.move_on_after(1) as scope:
        await run_agents(fakes(*agents), ["a", "b"])
    assert scope.cancelled_caught
    assert [agent.state for agent in agents] == ["cancelled", "cancelled"]


async def test_run_agents_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="2 agents need as many messages, not 1"):
        await run_agents(fakes(FakeAgent(1), FakeAgent(1)), ["a"])
    with pytest.raises(InvalidInputError, match="max_concurrent"):
        await run_agents(fakes(FakeAgent(1)), ["a"], max_concurrent=0)
    assert await run_agents([], []) == []


async def test_outcomes_come_in_the_order_of_finishing(autojump_clock: MockClock) -> None:
    error = RuntimeError("no")
    jobs = [Sleep("slow", 3), Sleep("bad", 2, error), Sleep("fast", 1)]
    async with open_runner(NO_RUNTIME) as runner:
        outcomes = [outcome async for outcome in runner.run(jobs, work)]
        assert runner.statistics().done == 2
    assert outcomes == [JobDone("fast", 1, 1.0), JobFailed("bad", error, 2.0), JobDone("slow", 3, 3.0)]


async def test_back_pressure_both_ways(autojump_clock: MockClock) -> None:
    """A job is taken only when a place is free, and a place is free only when an outcome was taken."""
    taken = 0

    def source() -> Iterator[Sleep]:
        nonlocal taken
        while True:
            taken += 1
            yield Sleep(str(taken), 1)

    async with open_runner(NO_RUNTIME, max_concurrent=3) as runner:
        outcomes = runner.run(source(), work)
        await trio.sleep(100)
        assert taken == 3
        await outcomes.receive()
        await trio.sleep(100)
        assert taken == 4


async def test_a_million_jobs_in_constant_memory() -> None:
    """No job is held before its turn or after its outcome: counted, since memory itself is measured in benchmarks."""
    alive = most = 0

    class Tracked:
        def __init__(self, key: str) -> None:
            nonlocal alive, most
            self.key = key
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    async def nothing(job: Tracked) -> None:
        await trio.lowlevel.checkpoint()

    async with open_runner(NO_RUNTIME, max_concurrent=10) as runner:
        count = 0
        async for _ in runner.run((Tracked(str(number)) for number in range(20_000)), nothing):
            count += 1
    assert count == 20_000
    assert most <= 30


async def test_async_input(autojump_clock: MockClock) -> None:
    async def source() -> AsyncIterator[Sleep]:
        for number in range(3):
            await trio.sleep(10)
            yield Sleep(str(number), 1)

    async with open_runner(NO_RUNTIME) as runner:
        keys = [outcome.key async for outcome in runner.run(source(), work)]
    assert keys == ["0", "1", "2"]


async def test_cancel_one_by_key(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME) as runner:
        outcomes = runner.run([Sleep("a", 10), Sleep("b", 10)], work)
        await trio.sleep(1)
        assert runner.running == ("a", "b")
        assert runner.cancel("a")
        assert not runner.cancel("no such")
        assert [outcome async for outcome in outcomes] == [JobCancelled("a", 1.0), JobDone("b", 10, 10.0)]


async def test_a_deadline_is_a_failure(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME, deadline=5) as runner:
        outcomes = [outcome async for outcome in runner.run([Sleep("a", 10), Sleep("b", 4)], work)]
    assert outcomes[0] == JobDone("b", 4, 4.0)
    failed = outcomes[1]
    assert isinstance(failed, JobFailed)
    assert isinstance(failed.error, DeadlineExceededError)
    assert (failed.error.seconds, failed.seconds) == (5, 5.0)


async def test_a_deadline_stands_still_while_waiting_for_rate(autojump_clock: MockClock) -> None:
    async def patient(job: Sleep) -> None:
        await trio.sleep(2)
        with doing("rate"):
            await trio.sleep(100)
        with doing("model"):
            await trio.sleep(job.seconds)

    async with open_runner(NO_RUNTIME, deadline=5) as runner:
        first, second = [outcome async for outcome in runner.run([Sleep("a", 2), Sleep("b", 4)], patient)]
    assert (first.key, first.seconds, type(first)) == ("a", 104.0, JobDone)
    assert (second.key, second.seconds, type(second)) == ("b", 105.0, JobFailed)


async def test_pause_and_go_on(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME, max_concurrent=1) as runner:
        began = trio.current_time()
        outcomes = runner.run([Sleep("a", 1), Sleep("b", 1)], work)
        runner.pause()
        await trio.sleep(10)
        assert runner.running == ()
        runner.resume()
        assert not runner.statistics().paused
        assert (await outcomes.receive()).key == "a"
        assert (await outcomes.receive()).key == "b"
        assert trio.current_time() - began == 12


async def test_concurrency_changes_while_running(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME, max_concurrent=1) as runner:
        outcomes = runner.run([Sleep(str(number), 10) for number in range(9)], work)
        await trio.sleep(1)
        assert runner.statistics().running == 1
        runner.max_concurrent = 4
        await wait_all_tasks_blocked()
        assert runner.statistics().running == 4
        runner.max_concurrent = 2
        with pytest.raises(InvalidInputError, match="max_concurrent"):
            runner.max_concurrent = 0
        assert (await outcomes.receive()).key == "0"
        await wait_all_tasks_blocked()
        assert runner.statistics().running == 3


async def test_the_bodys_own_error_comes_out_bare(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_runner(NO_RUNTIME) as runner:
            runner.run([Sleep("a", 10)], work)
            await trio.sleep(1)
            raise KeyError("mine")


async def test_an_error_of_the_run_itself_stops_all(autojump_clock: MockClock) -> None:
    jobs = [Sleep("a", 1, FatalError("journal")), Sleep("b", 100)]
    began = trio.current_time()
    with pytest.RaisesGroup(FatalError, flatten_subgroups=True):
        async with open_runner(NO_RUNTIME) as runner:
            async for _ in runner.run(jobs, work):
                raise AssertionError
    assert trio.current_time() - began == 1


async def test_an_error_of_the_input_stops_all() -> None:
    def source() -> Iterator[Sleep]:
        yield Sleep("a", 0)
        raise OSError("cannot read")

    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with open_runner(NO_RUNTIME) as runner:
            async for _ in runner.run(source(), work):
                pass


async def test_duplicate_keys_are_refused(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(InvalidInputError, flatten_subgroups=True):
        async with open_runner(NO_RUNTIME) as runner:
            async for _ in runner.run([Sleep("a", 1), Sleep("a", 1)], work):
                pass


async def test_closing_the_outcomes_cancels_the_jobs_at_once(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME, max_concurrent=2) as runner:
        outcomes = runner.run((Sleep(str(number), number) for number in range(1, 1000)), work)
        await outcomes.receive()
        outcomes.close()
        await wait_all_tasks_blocked()
        assert runner.running == ()
        with pytest.raises(trio.ClosedResourceError):
            await outcomes.receive()


async def test_closing_the_outcomes_leaves_the_source(autojump_clock: MockClock) -> None:
    left = trio.Event()

    async def source() -> AsyncIterator[Sleep]:
        try:
            await trio.sleep(10_000)
            yield Sleep("late", 1)
        finally:
            left.set()

    async with open_runner(NO_RUNTIME) as runner:
        async with runner.run(source(), work):
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert left.is_set()
        with runner.run([Sleep("a", 1)], work):  # closed before it could begin
            pass
        await trio.sleep(5)
        assert runner.statistics().done == 0


async def test_the_last_clone_of_the_outcomes_closes_them(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME, max_concurrent=2) as runner:
        outcomes = runner.run([Sleep("a", 1), Sleep("b", 10)], work)
        other = outcomes.clone()
        outcomes.close()
        assert (await other.receive()).key == "a"
        with pytest.raises(trio.WouldBlock):
            other.receive_nowait()
        assert other.statistics().open_receive_channels == 1
        await other.aclose()
        await wait_all_tasks_blocked()
        assert runner.running == ()


async def failing_when_cancelled(job: Sleep) -> float:
    """As `work`, but its clean-up fails, in the job's own task or beside it."""

    async def clean_up_badly() -> None:
        try:
            await trio.sleep(job.seconds)
        except trio.Cancelled:
            raise OSError("clean-up") from None

    if job.error is None:
        await clean_up_badly()
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up_badly)
            nursery.start_soon(trio.sleep, job.seconds)
    return job.seconds


ALONE, IN_A_NURSERY = None, RuntimeError("nested")


@pytest.mark.parametrize("where", [ALONE, IN_A_NURSERY])
async def test_a_cancelled_job_whose_clean_up_fails_has_failed(
    where: Exception | None, autojump_clock: MockClock
) -> None:
    async with open_runner(NO_RUNTIME) as runner:
        outcomes = runner.run([Sleep("a", 10, where), Sleep("b", 10, where)], failing_when_cancelled)
        await trio.sleep(1)
        assert runner.cancel("a")
        first, second = [outcome async for outcome in outcomes]
    assert isinstance(first, JobFailed)
    assert (first.key, first.seconds) == ("a", 1.0)
    assert [str(leaf) for leaf in leaves(first.error)] == ["clean-up"]
    assert second == JobDone("b", 10, 10.0)


@pytest.mark.parametrize("where", [ALONE, IN_A_NURSERY])
async def test_a_deadline_whose_clean_up_fails_is_still_the_deadline(
    where: Exception | None, autojump_clock: MockClock
) -> None:
    async with open_runner(NO_RUNTIME, deadline=5) as runner:
        (outcome,) = [o async for o in runner.run([Sleep("a", 10, where)], failing_when_cancelled)]
    assert isinstance(outcome, JobFailed)
    assert isinstance(outcome.error, DeadlineExceededError)
    assert outcome.error.__cause__ is not None
    assert [str(leaf) for leaf in leaves(outcome.error.__cause__)] == ["clean-up"]


@pytest.mark.parametrize("where", [ALONE, IN_A_NURSERY])
@pytest.mark.parametrize("own", [KeyError("mine"), KeyboardInterrupt(), SystemExit(2)])
async def test_no_clean_up_hides_the_blocks_error(
    own: BaseException, where: Exception | None, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    came_out: BaseException | None = None
    try:
        async with open_runner(NO_RUNTIME) as runner:
            runner.run([Sleep("a", 10, where)], failing_when_cancelled)
            await trio.sleep(1)
            raise own
    except type(own) as error:
        came_out = error
    assert came_out is own
    assert "job 'a' failed, and its outcome was not used" in caplog.text


@pytest.mark.parametrize("where", [ALONE, IN_A_NURSERY])
async def test_no_clean_up_is_an_error_of_leaving(
    where: Exception | None, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_runner(NO_RUNTIME) as runner:
        outcomes = runner.run([Sleep("a", 10, where)], failing_when_cancelled)
        other = runner.run([Sleep("b", 5)], work)
        await trio.sleep(1)
        outcomes.close()
        assert [outcome.key async for outcome in other] == ["b"]
        runner.run([Sleep("c", 10, where)], failing_when_cancelled)
        await trio.sleep(1)
    assert [record.args[0] for record in caplog.records if record.args] == ["a", "c"]  # type: ignore[index]


@pytest.mark.parametrize("error", [FatalError("journal"), KeyboardInterrupt()])
async def test_an_error_of_the_run_is_one_in_any_group(error: BaseException, autojump_clock: MockClock) -> None:
    async def nested(job: Sleep) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep(job.seconds)
            raise error

    with pytest.RaisesGroup(type(error), flatten_subgroups=True):
        async with open_runner(NO_RUNTIME) as runner:
            async for _ in runner.run([Sleep("a", 1)], nested):
                raise AssertionError


async def test_no_job_starts_while_paused(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[Sleep](10)
    async with open_runner(NO_RUNTIME, max_concurrent=2) as runner, send:
        outcomes = runner.run(receive, work)
        await wait_all_tasks_blocked()
        runner.pause()  # while the source is waited for
        await send.send(Sleep("a", 1))
        await trio.sleep(10)
        assert runner.running == ()
        for _ in range(3):  # nobody sees the moment in between
            runner.resume()
            runner.pause()
            await trio.sleep(10)
            assert runner.running == ()
        runner.resume()
        assert (await outcomes.receive()).key == "a"


async def test_no_job_starts_beyond_a_lowered_concurrency(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[Sleep](10)
    async with open_runner(NO_RUNTIME, max_concurrent=3) as runner, send:
        outcomes = runner.run(receive, work)
        await send.send(Sleep("a", 10))
        await wait_all_tasks_blocked()
        runner.max_concurrent = 1  # while a place is held for the next of the source
        await send.send(Sleep("b", 10))
        await wait_all_tasks_blocked()
        assert runner.running == ("a",)
        assert (await outcomes.receive()).key == "a"
        await wait_all_tasks_blocked()
        assert runner.running == ("b",)


async def test_leaving_while_the_concurrency_is_lowered(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[Sleep](10)
    async with open_runner(NO_RUNTIME, max_concurrent=2) as runner, send:
        outcomes = runner.run(receive, work)
        await send.send(Sleep("a", 100))
        await wait_all_tasks_blocked()
        runner.max_concurrent = 1
        await send.send(Sleep("b", 10))
        await wait_all_tasks_blocked()
        await outcomes.aclose()
        await wait_all_tasks_blocked()
        async with runner.run([Sleep("c", 1)], work) as others:  # every place has been given back
            assert (await others.receive()).key == "c"


async def test_every_run_has_keys_of_its_own(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME) as runner:
        one, two = runner.run([Sleep("x", 1)], work), runner.run([Sleep("x", 2), Sleep("y", 1)], work)
        assert [outcome async for outcome in one] == [JobDone("x", 1, 1.0)]
        assert runner.running in (("x",), ("x", "y"))
        assert runner.cancel("x")
        keys = {outcome.key: type(outcome) async for outcome in two}
    assert keys == {"x": JobCancelled, "y": JobDone}


async def test_a_key_that_runs_twice_is_cancelled_twice(autojump_clock: MockClock) -> None:
    async with open_runner(NO_RUNTIME) as runner:
        one, two = runner.run([Sleep("x", 10)], work), runner.run([Sleep("x", 10)], work)
        await trio.sleep(1)
        assert runner.running == ("x", "x")
        assert runner.cancel("x")
        assert await one.receive() == await two.receive() == JobCancelled("x", 1.0)
        assert not runner.cancel("x")


async def test_leaving_cancels_what_runs(autojump_clock: MockClock) -> None:
    ended = list[str]()

    async def noting(job: Sleep) -> None:
        try:
            await trio.sleep(job.seconds)
        finally:
            ended.append(job.key)

    began = trio.current_time()
    async with open_runner(NO_RUNTIME) as runner:
        assert isinstance(runner, Runner)
        runner.run([Sleep("a", 1000), Sleep("b", 1000)], noting)
        await trio.sleep(1)
    assert sorted(ended) == ["a", "b"]
    assert trio.current_time() - began == 1


async def test_bad_settings() -> None:
    for bad in (0, -1, 2.5, True, "many"):
        with pytest.raises(InvalidInputError, match="max_concurrent"):
            async with open_runner(NO_RUNTIME, max_concurrent=cast(Any, bad)):
                raise AssertionError
    with pytest.raises(InvalidInputError, match="deadline"):
        async with open_runner(NO_RUNTIME, deadline=0):
            raise AssertionError
    async with open_runner(NO_RUNTIME, max_concurrent=math.inf) as runner:
        assert runner.max_concurrent == math.inf
    with pytest.raises(InvalidInputError, match="either an agent or a memory_path"):
        AgentJob(key="a", message="hi")
