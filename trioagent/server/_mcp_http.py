"""``/mcp``: each memory over the Model Context Protocol's streamable HTTP, for any number of clients."""

from __future__ import annotations

from typing import Any

import trio
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from ..memory import Memory
from ._context import ServerContext
from ._json_body import read_json
from ._request_error import RequestError

_METHODS = ("GET", "POST", "DELETE")


def routes(context: ServerContext) -> list[BaseRoute]:
    """``/mcp/NAME``; also ``/mcp`` if there is one memory."""
    endpoint = _McpEndpoint(context)
    return [Route("/mcp", endpoint), Route("/mcp/{name}", endpoint)]


class _McpEndpoint:
    """An ASGI application. A memory's MCP server is started by the first request, and ends with the HTTP server."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._managers: dict[str, Any] = {}
        self._starting = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _METHODS:
            await Response(status_code=405, headers={"allow": ", ".join(_METHODS)})(scope, receive, send)
            return
        name = scope["path_params"].get("name") or await self._only_name()
        memory = await self._context.memories.get(name)
        async with self._starting:
            if name not in self._managers:
                self._managers[name] = await self._context.sessions.nursery.start(self._serve, memory)
        await self._managers[name].handle_request(scope, await _checked(scope, receive), send)

    async def _only_name(self) -> str:
        names = await self._context.memories.names()
        if len(names) != 1:
            raise RequestError(404, "unknown_memory", f"there are {len(names)} memories", "use /mcp/NAME")
        return names[0]

    async def _serve(self, memory: Memory, task_status: trio.TaskStatus[Any]) -> None:
        """Serve one memory until the HTTP server ends."""
        try:
            open_mcp, make_manager = await trio.to_thread.run_sync(_load)  # importing the SDK takes half a second
        except ImportError as error:
            advice = "install it where the server runs: pip install 'trioagent[mcp]'"
            raise RequestError(501, "no_mcp", "the extra for MCP is not installed", advice) from error
        limits, config = self._context.config.limits, self._context.config
        async with open_mcp(memory, runtime=self._context.runtime, agent=config.agent) as server:
            manager = make_manager(server.server, max_request_body_size=limits.body_bytes, max_sessions=limits.sessions)
            async with manager.run():
                task_status.started(manager)
                await trio.sleep_forever()


def _load() -> tuple[Any, Any]:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ._mcp import open_mcp

    return open_mcp, StreamableHTTPSessionManager


async def _checked(scope: Scope, receive: Receive) -> Receive:
    """Passes a request's body to the SDK, which parses it in one step on the event loop.

    Raises:
        RequestError: the body is not JSON, or has too many values.
    """
    if scope["method"] != "POST":
        return receive
    message = await receive()  # the whole body: see `_border`
    await read_json(message.get("body", b""))
    waiting = [message]

    async def receive_again() -> Message:
        if waiting:
            await trio.lowlevel.checkpoint()
            return waiting.pop()
        return await receive()

    return receive_again
