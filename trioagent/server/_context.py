"""The state that the routes of a server share."""

from __future__ import annotations

import hmac

import attrs

from ..runtime import Runtime
from ._config import ServerConfig
from ._memories import Memories
from ._request_error import RequestError
from ._run_dirs import RunDirectories
from ._sessions import Sessions, stopping_error


@attrs.define(kw_only=True, eq=False)
class ServerContext:
    """Passed to each module of routes.

    Attributes:
        runtime: None if the server has no model.
        token: the token that clients must send.
    """

    config: ServerConfig
    memories: Memories
    runs: RunDirectories
    runtime: Runtime | None
    sessions: Sessions
    token: str = attrs.field(repr=False)

    @property
    def stopping(self) -> bool:
        """The server is stopping, and accepts no new work."""
        return self.sessions.stopping

    def require_runtime(self) -> Runtime:
        """The runtime, for requests that need a model.

        Raises:
            RequestError: there is none, or the server is stopping.
        """
        if self.stopping:
            raise stopping_error()
        if self.runtime is None:
            raise RequestError(503, "no_model", "the server has no model", "start it with --model")
        return self.runtime

    def check_token(self, given: str) -> None:
        """
        Raises:
            RequestError: the token is wrong.
        """
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            raise RequestError(
                401,
                "wrong_token",
                "the token is wrong",
                "use the one that the server printed when it started, or TRIOAGENT_SERVER_TOKEN",
            )
