"""How many connections are kept for later requests, and for how long."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioagent._config import ModelConfig, RateLimits
from trioagent._messages import ChatMessage
from trioagent.models import open_model
from trioagent.models._connection_pool import ConnectionPool
from trioagent.testing import ModelServer, Say, serve_model

pytestmark = pytest.mark.real


@pytest.mark.parametrize("max_idle", [0, 1, 3, 10])
async def test_idle_connections_beyond_the_limit_are_closed(max_idle: int, nursery: trio.Nursery) -> None:
    server: ModelServer = await nursery.start(serve_model, lambda request: Say("<reply>hi</reply>", delay=0.1))
    config = ModelConfig(base_url=server.base_url, model="any", rate=RateLimits(max_idle=max_idle))

    async with open_model(config) as model:

        async def ask() -> None:
            async with model.answer([ChatMessage("user", "hi")]) as parts:
                assert [part async for part in parts]

        async with trio.open_nursery() as asking:
            for _ in range(4):
                asking.start_soon(ask)
            with trio.fail_after(20):
                await server.wait_connections(4)
        with trio.fail_after(20):
            await server.wait_connections(min(4, max_idle))
        await ask()
    assert server.connections_made == (5 if max_idle == 0 else 4)


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Virtual time at a hundred times the speed of real time."""
    return trio.testing.MockClock(rate=100.0)


async def test_a_connection_past_its_idle_timeout_is_closed_and_not_used_again(
    fast_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    server: ModelServer = await nursery.start(serve_model, lambda request: "<reply>hi</reply>")
    pool = ConnectionPool(connect_seconds=600, idle_seconds=300)

    async def ask() -> None:
        async with model.answer([ChatMessage("user", "hi")]) as parts:
            assert [part async for part in parts]

    async with open_model(ModelConfig(base_url=server.base_url, model="any"), transport=pool) as model:
        await ask()
        await ask()
        assert server.connections_made == 1
        await trio.sleep(301)  # nothing closes it meanwhile: it is closed when the next request looks for one
        await ask()
        assert server.connections_made == 2
        with trio.fail_after(3000):
            await server.wait_connections(1)
