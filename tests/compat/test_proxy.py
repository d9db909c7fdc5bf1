"""The documented API reads the proxy of the environment, as the command line does."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from trioagent.testing import ModelServer, serve_model

from ..models.loopback_proxy import proxy

pytestmark = pytest.mark.real

ASK = "from trioagent.compat.model import get_model_response; print(get_model_response(message='hi', model='m'))"


async def test_requests_go_through_the_environments_proxy(nursery: trio.Nursery) -> None:
    server: ModelServer = await nursery.start(serve_model, ["hello"])
    async with proxy() as there:
        env = {**os.environ, "TRIOAGENT_BASE_URL": server.base_url, "HTTP_PROXY": there.url}
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-W", "error", "-c", ASK], env=env, capture_stdout=True, capture_stderr=True
            )
        assert done.stdout == b"hello\n"
        assert there.asked == [f"POST {server.base_url}/chat/completions".encode()]
