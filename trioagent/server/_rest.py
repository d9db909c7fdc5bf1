"""REST: memories, notes, chats and runs as JSON."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ._context import ServerContext


def routes(context: ServerContext) -> list[BaseRoute]:
    """The routes of REST."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readiness(request: Request) -> Response:
        ready = not context.stopping
        return JSONResponse({"status": "ready" if ready else "stopping"}, status_code=200 if ready else 503)

    async def memories(request: Request) -> Response:
        return JSONResponse({"memories": await context.memories.names()})

    return [
        Route("/healthz", health),
        Route("/readyz", readiness),
        Route("/api/memories", memories),
    ]
