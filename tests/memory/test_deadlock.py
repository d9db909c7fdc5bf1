"""A wait for a memory that could never end is an error at once; one that ends by itself is a wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trioagent._errors import MemoryDeadlockError
from trioagent.memory import Memory
from trioagent.memory._lease import run_state

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
async def nothing_is_left() -> object:
    """No wait and no holding stays behind, whatever came of it."""
    yield
    holdings = run_state().holdings
    assert not holdings.waits and not holdings.by_path and not holdings.by_identity


async def use(memory: Memory) -> None:
    async with memory.lease():
        pass


async def in_a_task(call: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)


async def from_a_thread(call: Callable[[], Awaitable[None]]) -> None:
    await trio.to_thread.run_sync(lambda: trio.from_thread.run(call))


async def from_a_thread_as_a_system_task(call: Callable[[], Awaitable[None]]) -> None:
    token = trio.lowlevel.current_trio_token()
    await trio.to_thread.run_sync(lambda: trio.from_thread.run(call, trio_token=token))


WAYS = [lambda call: call(), in_a_task, from_a_thread, from_a_thread_as_a_system_task]


@pytest.mark.parametrize("way", WAYS, ids=["call", "task", "thread", "system-task"])
async def test_a_memory_held_by_the_caller_is_refused_at_once(
    way: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]], tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "m")
    async with memory.lease():
        with trio.fail_after(5), pytest.raises((MemoryDeadlockError, ExceptionGroup)) as caught:
            await way(lambda: use(Memory(tmp_path / "m")))
    (error,) = caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else (caught.value,)
    assert isinstance(error, MemoryDeadlockError)
    assert error.path == str(tmp_path / "m")
    assert "the block that this call is part of" in str(error)
    await use(memory)


async def test_another_path_of_the_memory_is_the_same_memory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with Memory(tmp_path / "real" / "m").lease():
        with trio.fail_after(5), pytest.raises(MemoryDeadlockError, match="link/m"):
            await use(Memory(tmp_path / "link" / "m"))


async def test_other_memories_may_be_used_within(tmp_path: Path) -> None:
    async with Memory(tmp_path / "a").lease():
        await use(Memory(tmp_path / "b"))
        async with Memory(tmp_path / "b").lease():
            await use(Memory(tmp_path / "c"))
        await use(Memory(tmp_path / "b"))
    await use(Memory(tmp_path / "a"))


async def test_a_task_started_elsewhere_waits(tmp_path: Path) -> None:
    """A tool may leave work to a task that it does not wait for."""
    order = []

    async def later() -> None:
        async with Memory(tmp_path / "m").lease():
            order.append("later")

    async with trio.open_nursery() as nursery:
        async with Memory(tmp_path / "m").lease():
            nursery.start_soon(later)
            await trio.testing.wait_all_tasks_blocked()
            order.append("held")
    assert order == ["held", "later"]


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_of_a_circle_of_waits_one_is_refused_and_the_others_end(count: int, tmp_path: Path) -> None:
    memories = [Memory(tmp_path / str(number)) for number in range(count)]
    held, all_held = 0, trio.Event()
    refused: list[BaseException] = []
    ended = []

    async def one(number: int) -> None:
        nonlocal held
        async with memories[number].lease():
            held += 1
            if held == count:
                all_held.set()
            await all_held.wait()
            try:
                await in_a_task(lambda: use(memories[(number + 1) % count]))
            except* MemoryDeadlockError as group:
                refused.extend(group.exceptions)
            else:
                ended.append(number)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, number)
    assert len(refused) == 1
    assert "whose holder waits for" in str(refused[0]) or "its holder waits for" in str(refused[0])
    assert len(ended) == count - 1


async def test_a_waiter_in_front_is_seen_once_it_holds(tmp_path: Path) -> None:
    """`first` waits for `b` behind `second`, which gets it, and then wants what `first` holds."""
    a, b = Memory(tmp_path / "a"), Memory(tmp_path / "b")
    refused, both_wait = [], trio.Event()

    async def second() -> None:
        async with b.lease():
            try:
                await use(a)
            except MemoryDeadlockError as error:
                refused.append(error.path)

    async def first() -> None:
        async with a.lease():
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            both_wait.set()
            await use(b)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with b.lease():
                nursery.start_soon(first)
                await both_wait.wait()
                await trio.testing.wait_all_tasks_blocked()
    assert refused == [str(tmp_path / "a")]


async def test_a_cancelled_wait_is_no_edge_of_a_circle(tmp_path: Path) -> None:
    a, b = Memory(tmp_path / "a"), Memory(tmp_path / "b")
    a_held, gave_up = trio.Event(), trio.Event()

    async def impatient() -> None:
        async with a.lease():
            a_held.set()
            with trio.move_on_after(0.05):
                await use(b)
            gave_up.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with b.lease():
                nursery.start_soon(impatient)
                await a_held.wait()
                await gave_up.wait()
                await use(a)


_HOLD = """
import sys, trio
from trioagent.memory import Memory

async def main():
    async with Memory(sys.argv[1]).lease():
        print("held", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


async def test_another_process_is_waited_for_a_bounded_time_within_a_lease(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    path = tmp_path / "theirs"
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", _HOLD, os.fspath(path)]
        start = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, capture_stdout=False)
        child: trio.Process = await nursery.start(start)
        assert child.stdin is not None
        assert child.stdout is not None
        assert (await child.stdout.receive_some()).startswith(b"held")
        async with Memory(tmp_path / "ours").lease():
            mock_clock.rate = 600  # a minute is a tenth of a second now, in which the other process does nothing
            with pytest.raises(MemoryDeadlockError, match="another process has held it for 60 s"):
                await use(Memory(path))
        await child.stdin.aclose()
    await use(Memory(path))
