"""The server: chats in real time, an OpenAI-compatible endpoint, REST, and the page, in one Trio nursery.

Takes the extra ``server``. Nothing of it is imported before the first name here is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from ._config import ServerConfig as ServerConfig
    from ._config import ServerLimits as ServerLimits
    from ._request_error import RequestError as RequestError
    from ._serve import Server as Server
    from ._serve import serve as serve

_PLACES = {
    "_config": "ServerConfig ServerLimits",
    "_request_error": "RequestError",
    "_serve": "Server serve",
}

if not TYPE_CHECKING:  # a checker is to report misspelt names as unknown
    __getattr__ = lazy_names(__name__, _PLACES)
    __all__ = [name for names in _PLACES.values() for name in names.split()]

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
