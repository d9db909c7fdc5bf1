"""A loopback server and a model before it, for tests over real sockets."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trioagent._config import ModelConfig, RetryPolicy
from trioagent._messages import ChatMessage
from trioagent.models import AnswerEnd, AnswerPart, Model, ReasoningDelta, Retrying, TextDelta, open_model
from trioagent.testing import ModelServer, serve_model
from trioagent.testing._server import Answer, Handler

ASK = [ChatMessage("user", "hello")]
QUICK = RetryPolicy(attempts=4, first_delay=0.001, max_delay=0.01)
ONCE = RetryPolicy(attempts=1)


@asynccontextmanager
async def serving(
    script: Iterable[Answer] | Handler, *, server_ssl: ssl.SSLContext | None = None
) -> AsyncIterator[ModelServer]:
    """A running server; at the end every connection must be gone, but for those still open on purpose."""
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(start_server, script, server_ssl)
        yield server
        nursery.cancel_scope.cancel()


async def start_server(
    script: Iterable[Answer] | Handler,
    server_ssl: ssl.SSLContext | None,
    *,
    task_status: trio.TaskStatus[ModelServer],
) -> None:
    await serve_model(script, ssl_context=server_ssl, task_status=task_status)


@asynccontextmanager
async def model_before(
    server: ModelServer, *, client_ssl: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Model]:
    """An open model; after it is closed, the server must see all connections go."""
    config = ModelConfig(**{"base_url": server.base_url, "model": "any", "retry": QUICK, **settings})
    async with open_model(config, jitter=random.Random(1), ssl_context=client_ssl) as model:
        yield model
    with trio.fail_after(5):
        await server.wait_connections(0)


@attrs.frozen
class Answered:
    text: str
    end: AnswerEnd | None
    retries: list[Retrying]


async def ask(model: Model, messages: list[ChatMessage] = ASK) -> Answered:
    """The whole answer, read as an agent reads it."""
    parts: list[AnswerPart] = []
    with trio.fail_after(20):
        async with model.answer(messages) as answer:
            async for part in answer:
                parts.append(part)
    text = ""
    for part in parts:
        if isinstance(part, Retrying):
            text = ""
        elif isinstance(part, TextDelta):
            text += part.text
    ends = [part for part in parts if isinstance(part, AnswerEnd)]
    assert parts[-1:] == ends
    assert all(isinstance(part, TextDelta | ReasoningDelta | Retrying | AnswerEnd) for part in parts)
    return Answered(text, ends[0] if ends else None, [part for part in parts if isinstance(part, Retrying)])
