"""``probe_loop_delay`` sees what holds the event loop, and leaves nothing behind."""

from __future__ import annotations

import math
import time

import pytest
import trio

from trioagent.testing import LoopDelay, probe_loop_delay


@pytest.mark.real
async def test_it_sees_a_long_step() -> None:
    async with probe_loop_delay() as delay:
        await trio.sleep(0.01)
        assert delay.rounds > 0
        time.sleep(0.05)  # noqa: ASYNC251 - what it is to find
        await trio.sleep(0.01)
    assert delay.worst >= 0.045  # at least: a busy machine only adds to it
    assert delay.worst <= delay.total
    assert delay.mean == delay.total / delay.rounds


async def test_it_begins_anew() -> None:
    delay = LoopDelay()
    assert math.isnan(delay.mean)
    for seconds in (0.5, 1.5):
        delay.book(seconds)
    assert (delay.worst, delay.mean, delay.rounds) == (1.5, 1.0, 2)
    delay.reset()
    assert delay == LoopDelay()


async def test_an_exception_of_the_body_comes_out_bare() -> None:
    before = list(trio.lowlevel.current_task().child_nurseries)
    with pytest.raises(KeyError):
        async with probe_loop_delay():
            raise KeyError("x")
    assert trio.lowlevel.current_task().child_nurseries == before
