"""How many agents fit into so many file descriptors; tasks wait for descriptors instead of failing."""

from __future__ import annotations

import errno
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trioagent import MemoryStorageError
from trioagent._descriptors import BLOCK, RESERVE, DescriptorBudget, Hold, is_out_of_descriptors
from trioagent.batch import fit_to_descriptors
from trioagent.testing import ModelRequest, serve_model


@pytest.mark.parametrize(
    ("asked", "limit", "models", "episodes", "idle"),
    [
        (1000, math.inf, 1, 1000, 1000),
        (1000, 20_000, 1, 1000, 1000),
        (1000, 1024, 1, 565, 283),
        (100, 1024, 1, 100, 100),
        (1000, 1024, 3, 565, 94),
        (1000, 256, 1, 53, 27),
        (10, 64, 1, 1, 0),
    ],
)
def test_known_cases(asked: int, limit: float, models: int, episodes: int, idle: int) -> None:
    found = fit_to_descriptors(asked, limit, blocks=8, models=models)
    assert (found.max_concurrent, found.max_idle) == (episodes, idle)


@given(
    asked=st.integers(1, 10_000),
    limit=st.integers(0, 20_000),
    blocks=st.integers(1, 32),
    models=st.integers(1, 20),
)
def test_it_always_fits(asked: int, limit: int, blocks: int, models: int) -> None:
    found = fit_to_descriptors(asked, limit, blocks=blocks, models=models)
    fixed = RESERVE + BLOCK * blocks
    assert 1 <= found.max_concurrent <= asked
    assert 0 <= found.max_idle <= asked
    assert found.descriptors == fixed + found.max_concurrent + models * found.max_idle
    assert found.descriptors <= max(limit, fixed + 1)
    if limit >= fixed + asked * (1 + models):
        assert found.max_concurrent == asked


def with_room(count: int) -> DescriptorBudget:
    """A budget of *count* descriptors, whatever this process has open."""
    return DescriptorBudget(limit=lambda: count + RESERVE, count_open=lambda: 0)


@pytest.fixture
async def budget() -> DescriptorBudget:
    return with_room(SIZE)


SIZE = RESERVE * 2


async def test_who_finds_none_waits_in_order(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    first, rest = await budget.take(1), await budget.take(SIZE - 1)
    got: list[int] = []
    holds = []

    async def take(number: int) -> None:
        holds.append(await budget.take(1))
        got.append(number)

    for number in range(3):
        nursery.start_soon(take, number)
        await trio.testing.wait_all_tasks_blocked()
    assert (got, budget.waiting) == ([], 3)
    first.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (got, budget.waiting) == ([0], 2)
    rest.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (sorted(got), budget.waiting) == ([0, 1, 2], 0)
    for hold in holds:
        hold.release()
        hold.release()  # twice is no error
    assert not budget.holds


async def test_a_cancelled_wait_leaves_nothing_behind(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    first = await budget.take(SIZE - 1)
    with trio.CancelScope() as scope:
        nursery.start_soon(budget.take, 1)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await budget.take(2)
    assert scope.cancelled_caught
    assert budget.waiting == 0
    assert len(budget.holds) == 2
    first.release()


async def test_children_come_first_and_have_a_share(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    got: list[str] = []

    async def take(name: str, count: int, *, priority: bool = False) -> None:
        await budget.take(count, priority=priority)
        got.append(name)

    with budget.reserved_for_blocks(BLOCK):
        full, little = await budget.take(SIZE - 2 * BLOCK), await budget.take(BLOCK)
        nursery.start_soon(take, "lease", 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(partial(take, "child", BLOCK, priority=True))
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["child"]
        nursery.start_soon(partial(take, "second child", BLOCK, priority=True))
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["child"]
        little.release()
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["child", "second child"]
        full.release()
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["child", "second child", "lease"]


class Idle:
    """Idle connections of one pool."""

    def __init__(self, holds: list[Hold]) -> None:
        self.holds = holds
        for hold in holds:
            hold.idle = True

    def close_one_idle(self) -> bool:
        if self.holds:
            self.holds.pop(0).release()
            return True
        return False


async def test_idle_ones_are_closed_for_those_who_need_them(budget: DescriptorBudget) -> None:
    pool = Idle([await budget.take(1) for _ in range(SIZE)])
    budget.keep_idle.add(pool)
    await budget.take(3)
    assert len(pool.holds) == SIZE - 3


async def test_what_becomes_idle_is_used_in_place_of_a_new_one(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    full = await budget.take(SIZE)
    idle: list[str] = []
    found: list[Hold | str] = []

    async def connect() -> None:
        found.append(await budget.take_or(1, lambda: idle.pop() if idle else None))

    nursery.start_soon(connect)
    await trio.testing.wait_all_tasks_blocked()
    idle.append("connection")
    full.idle = True
    await trio.testing.wait_all_tasks_blocked()
    assert found == ["connection"]
    assert budget.waiting == 0


async def test_who_waits_for_itself_goes_on_over_the_budget(budget: DescriptorBudget) -> None:
    """A block's host tool runs another block: what the first one holds comes back only after that."""
    outer = await budget.take(SIZE)
    with outer, await budget.take(1):
        assert len(budget.holds) == 2
    assert not budget.holds


async def test_all_who_hold_wait_too(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    """Two blocks of one host tool each: neither ends before its inner block, so both continue, the second at once."""
    ended = []

    async def block(name: str) -> None:
        with await budget.take(SIZE // 2):
            await trio.testing.wait_all_tasks_blocked()
            with await budget.take(1):
                ended.append(name)

    async with trio.open_nursery() as both:
        both.start_soon(block, "a")
        both.start_soon(block, "b")
    assert sorted(ended) == ["a", "b"]
    assert not budget.holds


async def test_a_lease_that_waits_for_its_turn_is_no_hope_for_a_nested_one(
    budget: DescriptorBudget, nursery: trio.Nursery
) -> None:
    async def leased() -> None:
        with await budget.take(1), budget.waiting_elsewhere():
            await trio.sleep_forever()

    suspended = await budget.take(SIZE - 1)
    nursery.start_soon(leased)
    await trio.testing.wait_all_tasks_blocked()
    with suspended:
        await budget.take(1)
    nursery.cancel_scope.cancel()


async def test_too_few_for_anybody_is_one_at_a_time() -> None:
    budget, most = with_room(-RESERVE), 0

    async def one() -> None:
        nonlocal most
        hold = await budget.take(BLOCK)
        most = max(most, len(budget.holds))
        await trio.testing.wait_all_tasks_blocked()
        hold.release()

    async with trio.open_nursery() as all_of_them:
        for _ in range(5):
            all_of_them.start_soon(one)
    assert most == 1


async def test_an_emfile_waits_for_the_next_one_given_back(budget: DescriptorBudget, nursery: trio.Nursery) -> None:
    other, mine = await budget.take(1), await budget.take(1)
    attempts = 0
    opened: list[str] = []

    async def attempt() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return "opened"

    async def connect() -> None:
        opened.append(await mine.open_when_possible(attempt))

    nursery.start_soon(connect)
    await trio.testing.wait_all_tasks_blocked()
    assert (attempts, opened) == (1, [])
    other.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (attempts, opened) == (2, ["opened"])
    assert budget.holds == {mine}


async def test_an_emfile_that_nobody_can_cure_is_raised(budget: DescriptorBudget) -> None:
    mine = await budget.take(1)

    async def attempt() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many open files"):
        await mine.open_when_possible(attempt)
    assert budget.holds == {mine}
    mine.release()


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(errno.EMFILE, "x"), True),
        (OSError(errno.ENOENT, "x"), False),
        (ExceptionGroup("", [ValueError(), OSError(errno.EMFILE, "x")]), True),
        (MemoryStorageError("m", errno.EMFILE, "x"), True),
        (None, False),
    ],
)
def test_which_errors_are_for_want_of_a_descriptor(error: BaseException | None, found: bool) -> None:
    assert is_out_of_descriptors(error) is found
    outer = ValueError()
    outer.__cause__ = error
    assert is_out_of_descriptors(outer) is found


@pytest.mark.real
@pytest.mark.parametrize("limits", [(300, 400), (400, 400)])
def test_the_soft_limit_is_raised_and_restored(limits: tuple[int, int]) -> None:
    program = f"""
import resource
from trioagent._descriptors import raised_limit
resource.setrlimit(resource.RLIMIT_NOFILE, {limits})
soft = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
with raised_limit():
    with raised_limit():
        assert soft() == 400
    assert soft() == 400
assert soft() == {limits[0]}
with raised_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (350, 400))
assert soft() == 350, "somebody else's limit was changed"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


AGENTS = """
import collections, resource, sys, trio
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from trioagent import Agent, ModelConfig, open_runtime, run_agents
from trioagent.testing import ScriptedModel
def answer(messages):
    return {block!r} if messages[-1].role == "user" else {reply!r}
async def main():
    model = ModelConfig(base_url=sys.argv[2], model="any") if sys.argv[2] else ScriptedModel(answer)
    async with open_runtime(model) as runtime:
        agents = [Agent(runtime, memory_path=f"{{sys.argv[1]}}/m{{n}}") for n in range({agents})]
        responses = await run_agents(agents, ["Go."] * len(agents))
    print(collections.Counter(response.reply for response in responses))
trio.run(main)
"""
BLOCK_ANSWER = "<think></think>\n<python>\ncreate_file('a.md', 'x')\n</python>"
REPLY_ANSWER = "<think></think>\n<python></python>\n<reply>Done.</reply>"


@pytest.mark.real
@pytest.mark.parametrize(("agents", "limit", "server"), [(300, 256, False), (300, 256, True)])
async def test_more_agents_than_descriptors(
    tmp_path: Path, nursery: trio.Nursery, agents: int, limit: int, server: bool
) -> None:
    """Each agent wants a connection, then a lease and a child; all reply."""

    def answer(request: ModelRequest) -> str:
        return BLOCK_ANSWER if len(request.messages) == 2 else REPLY_ANSWER

    program = AGENTS.format(agents=agents, limit=limit, block=BLOCK_ANSWER, reply=REPLY_ANSWER)
    base_url = ""
    if server:
        base_url = (await nursery.start(partial(serve_model, answer, record=False))).base_url
    with trio.fail_after(120):
        done = await trio.run_process(
            [sys.executable, "-c", program, str(tmp_path), base_url],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (done.stdout.decode().strip(), done.stderr) == (f"Counter({{'Done.': {agents}}})", b"")
    assert len(list(tmp_path.glob("m*/a.md"))) == agents
