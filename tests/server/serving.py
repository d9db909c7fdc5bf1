"""A real server on a loopback port, in a nursery of the test, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from trioagent._config import ModelConfig, RetryPolicy
from trioagent._exceptions import open_helper_nursery
from trioagent._tracing import TracingConfig
from trioagent.runtime import Runtime, open_runtime
from trioagent.server import Server, ServerConfig, serve
from trioagent.testing import ModelRequest, ModelServer, serve_model

Answers = Iterable[Any] | Callable[[ModelRequest], Any]


@attrs.frozen(kw_only=True)
class Served:
    """What a test has of a server.

    Attributes:
        client: knows the address, and shows the token.
        root: the folder of memories.
        model: the model's server, if there is one.
        scope: cancels the server.
    """

    server: Server
    client: httpx.AsyncClient
    root: Path
    model: ModelServer | None
    scope: trio.CancelScope

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        url = httpx.URL(self.server.url)
        assert url.port is not None
        return url.host, url.port


@asynccontextmanager
async def serving(
    root: Path, answers: Answers | None = None, tracing: TracingConfig | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Serve the memories below *root*.

    Args:
        answers: of a scripted model, which is served over HTTP (see `serve_model`); none answers without them.
        tracing: serve with a runtime of the test's own, which has this.
        settings: of `ServerConfig`.
    """
    async with open_helper_nursery() as nursery, AsyncExitStack() as stack:
        model: ModelServer | None = None
        if answers is not None:
            model = await nursery.start(serve_model, answers)
            retry = RetryPolicy(attempts=2, first_delay=0.01)
            settings["model"] = ModelConfig(base_url=model.base_url, model="scripted", retry=retry)
        config = ServerConfig(**{"root": root, "port": 0, **settings})
        runtime = None
        if tracing is not None:
            assert config.model is not None
            runtime = await stack.enter_async_context(open_runtime(config.model, tracing=tracing))
        scope = trio.CancelScope()
        server: Server = await nursery.start(_serve_in, scope, config, runtime)
        transport = None if config.unix_socket is None else httpx.AsyncHTTPTransport(uds=str(config.unix_socket))
        headers = {"Authorization": f"Bearer {server.token}"}
        async with httpx.AsyncClient(
            base_url=server.url, headers=headers, timeout=30, transport=transport, trust_env=False
        ) as client:
            yield Served(server=server, client=client, root=root, model=model, scope=scope)
            scope.cancel()


async def _serve_in(
    scope: trio.CancelScope, config: ServerConfig, runtime: Runtime | None, task_status: trio.TaskStatus[Server]
) -> None:
    with scope:
        await serve(config, runtime=runtime, task_status=task_status)


def make_memories(root: Path, notes: dict[str, dict[str, str]]) -> None:
    """Folders of notes: the texts by path, by the memory's name."""
    for name, texts in notes.items():
        (root / name).mkdir(parents=True)
        for path, text in texts.items():
            note = root / name / path
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(text, encoding="utf-8")


def code(source: str) -> str:
    """An answer that runs *source*."""
    return f"<think>I will run code.</think>\n<python>\n{source}\n</python>"


def reply(words: str) -> str:
    """An answer that replies."""
    return f"<think>I know.</think>\n<python></python>\n<reply>{words}</reply>"
