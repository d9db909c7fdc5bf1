"""What the routes of a server share."""

from __future__ import annotations

import attrs

from ..runtime import Runtime
from ._config import ServerConfig
from ._memories import Memories
from ._request_error import RequestError
from ._run_dirs import RunDirectories


@attrs.define(kw_only=True, eq=False)
class ServerContext:
    """Given to each module of routes.

    Attributes:
        runtime: None if no model answers here.
        stopping: the server has been asked to stop, and takes on no new work.
    """

    config: ServerConfig
    memories: Memories
    runs: RunDirectories
    runtime: Runtime | None
    stopping: bool = False

    def require_runtime(self) -> Runtime:
        """The runtime, for work that takes a model.

        Raises:
            RequestError: there is none, or the server is about to stop.
        """
        if self.stopping:
            raise RequestError(503, "stopping", "the server is about to stop", "try again when it is back")
        if self.runtime is None:
            raise RequestError(503, "no_model", "no model answers on this server", "start it with --model")
        return self.runtime
