"""Cancelling an answer anywhere leaves no connection behind, and a model that works."""

from __future__ import annotations

from itertools import cycle, repeat

import pytest
import trio

from trioagent.testing import Fault, Say, cancel_at_every_checkpoint
from trioagent.testing._server import Answer

from .support import ASK, ask, model_before, serving

pytestmark = pytest.mark.real


async def test_at_every_checkpoint_of_a_model_s_life() -> None:
    async with serving(cycle([Fault.status(503), Say("hello", chunk=1, pace=0.002)])) as server:

        async def body() -> None:
            async with model_before(server) as model:
                assert (await ask(model)).text == "hello"

        async def check() -> None:
            with trio.fail_after(5):
                await server.wait_connections(0)

        assert await cancel_at_every_checkpoint(body, after_each=check) > 20


@pytest.mark.parametrize("stream", [True, False])
async def test_at_every_checkpoint_of_an_answer_of_a_model_that_lives_on(stream: bool) -> None:
    # In so many pieces that some waits are left where a busy machine lets several come at once.
    say = Say("hello", chunk=1, piece=0 if stream else 16, pace=0.001)
    says: cycle[Answer] = cycle([Fault.half_body(), say])
    async with serving(says) as server, model_before(server, stream=stream) as model:

        async def body() -> None:
            assert (await ask(model)).text == "hello"

        async def check() -> None:
            assert server.open_connections <= 2, "the answer's own, and one that the server has not yet seen close"
            assert (await ask(model)).text == "hello"

        assert await cancel_at_every_checkpoint(body, after_each=check) > 10


async def test_a_hundred_hanging_answers_are_gone_at_once() -> None:
    faults = cycle([Fault.hang(), Fault.hang_mid_body(), Fault.endless(pace=0.01)])
    async with serving(faults) as server, model_before(server) as model:

        async def one() -> None:
            async with model.answer(ASK) as parts:
                async for _ in parts:
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(99):
                nursery.start_soon(one)
            with trio.fail_after(10):
                await server.wait_connections(99)
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await server.wait_connections(0)


async def test_a_deadline_of_the_caller_reaches_a_hanging_server() -> None:
    async with serving(repeat(Fault.hang())) as server, model_before(server) as model:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(0.05):
                await ask(model)
