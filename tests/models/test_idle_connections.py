"""How many connections are kept for later requests."""

from __future__ import annotations

import pytest
import trio

from trioagent._config import ModelConfig, RateLimits
from trioagent._messages import ChatMessage
from trioagent.models import open_model
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
