"""``cancel_at_every_checkpoint`` reaches every checkpoint, in the task and below it, and reports what it finds."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioagent.testing import cancel_at_every_checkpoint


async def test_every_checkpoint_is_cancelled_in_turn() -> None:
    reached: list[int] = []

    async def body() -> None:
        reached.append(0)
        for i in range(1, 4):
            await trio.lowlevel.checkpoint()
            reached[-1] = i

    cancelled = await cancel_at_every_checkpoint(body)
    # Two runs each: cancelled while waiting at a checkpoint, and while waking from it; then one to the end.
    assert reached == [0, 0, 1, 1, 2, 2, 3]
    assert cancelled == 6


async def test_a_body_without_checkpoints_runs_once() -> None:
    runs: list[None] = []

    async def body() -> None:
        runs.append(None)

    assert await cancel_at_every_checkpoint(body) == 0
    assert len(runs) == 1


async def test_children_are_part_of_the_body(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await trio.sleep(1)
            await trio.sleep(1)
            ended.append("whole")
        except trio.Cancelled:
            ended.append("cut")
            raise

    async def body() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    assert await cancel_at_every_checkpoint(body) >= 6
    assert ended.count("cut") >= 4
    assert ended[-1] == "whole"


async def test_a_checkpoint_that_leaks_is_found() -> None:
    opened: list[None] = []

    async def leaky() -> None:
        opened.append(None)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        opened.pop()

    async def check() -> None:
        assert not opened, "it leaked"

    with pytest.raises(AssertionError, match="it leaked") as caught:
        await cancel_at_every_checkpoint(leaky, after_each=check)
    assert caught.value.__notes__ == ["after a run cancelled in checkpoint 1"]


async def test_an_error_in_place_of_the_cancellation_comes_out() -> None:
    async def wrong() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise KeyError("swallowed") from None

    with pytest.raises(KeyError) as caught:
        await cancel_at_every_checkpoint(wrong)
    assert caught.value.__notes__ == ["cancelled in checkpoint 1"]


async def test_a_body_that_never_gets_further_is_given_up() -> None:
    async def endless() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="after 20 runs"):
        await cancel_at_every_checkpoint(endless, rounds=20)


async def test_shielded_cleanup_is_run_to_its_end() -> None:
    cleaned: list[bool] = []

    async def body() -> None:
        cleaned.append(False)
        try:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            cleaned[-1] = True

    await cancel_at_every_checkpoint(body)
    assert cleaned
    assert all(cleaned)
