"""Host tools of programs without Trio: sync functions, and coroutine functions of asyncio."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from functools import partial, wraps
from inspect import isawaitable, iscoroutinefunction
from typing import Any

import trio

from ..sandbox import HostTool
from ._call import calling_loop
from ._configuration import HostFunction
from ._interop import call_asyncio


def for_trio(tools: Mapping[str, HostFunction]) -> dict[str, HostTool]:
    """The same tools as async functions for Trio.

    A sync function runs in a worker thread; a cancelled chat waits for it. A coroutine function runs in the event loop
    that waits for the chat, and is cancelled with it; in a sync chat it runs in a loop of its own.
    """
    return {name: _adapted(tool) for name, tool in tools.items()}


def _adapted(tool: HostFunction) -> HostTool:
    @wraps(tool)
    async def call(*args: object, **kwargs: object) -> object:
        said: partial[Any] = partial(tool, *args, **kwargs)
        loop = calling_loop.get()
        if loop is not None and iscoroutinefunction(tool):
            name = getattr(tool, "__name__", "a host tool")
            return await call_asyncio(loop, said, context=contextvars.copy_context(), name=name)
        return await trio.to_thread.run_sync(_run, said)

    return call


def _run(said: partial[Any]) -> object:
    made = said()
    if not isawaitable(made):
        return made

    async def wait() -> object:
        return await made

    return asyncio.run(wait())
