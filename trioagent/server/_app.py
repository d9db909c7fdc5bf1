"""The application: the routes of all modules, behind the border."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from . import _chats, _mcp_http, _openai, _page, _rest
from ._border import Border
from ._context import ServerContext

# Each has `routes(context)`. The first match counts.
_ROUTES = (_rest.routes, _chats.routes, _openai.routes, _mcp_http.routes, _page.routes)


def make_app(context: ServerContext) -> Border:
    """The ASGI application of one server."""
    router = Router(
        [route for routes in _ROUTES for route in routes(context)], redirect_slashes=False, default=_not_found
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = router  # so that Starlette raises errors instead of answering them in its own format
        await router(scope, receive, send)

    tracing = None if context.runtime is None else context.runtime.tracing
    return Border(app, context.config, context.check_token, tracing)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404, f"not found: {scope['path']!r:.200}")
