"""The server: chats in real time, an OpenAI-compatible endpoint, REST, and the page, in one Trio nursery.

Needs the extra ``server``. Its modules are imported on the first use of a name here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from ._config import ServerConfig as ServerConfig
    from ._config import ServerLimits as ServerLimits
    from ._mcp import McpServer as McpServer
    from ._mcp import open_mcp as open_mcp
    from ._mcp_stdio import serve_mcp as serve_mcp
    from ._request_error import RequestError as RequestError
    from ._serve import Server as Server
    from ._serve import serve as serve

_PLACES = {
    "_config": "ServerConfig ServerLimits",
    "_mcp": "McpServer open_mcp",
    "_mcp_stdio": "serve_mcp",
    "_request_error": "RequestError",
    "_serve": "Server serve",
}

if not TYPE_CHECKING:  # so that a type checker reports unknown names
    __getattr__ = lazy_names(__name__, _PLACES)
    __all__ = [name for names in _PLACES.values() for name in names.split()]

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
