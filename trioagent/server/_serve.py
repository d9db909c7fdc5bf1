"""`serve`: a server that runs as long as its task."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import trio

from .._config import MemoryLimits
from ..runtime import Runtime, open_runtime
from ._app import make_app
from ._border import new_token
from ._config import ServerConfig
from ._connections import Connections
from ._context import ServerContext
from ._listen import listening
from ._memories import Memories
from ._run_dirs import RunDirectories
from ._sessions import Sessions

_LAST_WORDS_SECONDS = 1.0  # for responses in transit, after the last chat has ended


class Server:
    """A running server; returned by `nursery.start(serve, config)`.

    Attributes:
        url: where it listens, ``http://127.0.0.1:8460``; for a Unix socket ``http://localhost``, for clients that
            connect to the socket.
        token: the token that clients must send.
    """

    def __init__(self, context: ServerContext, connections: Connections, url: str, token: str) -> None:
        self._context, self._connections = context, connections
        self.url: str = url
        self.token: str = token
        self._stop = trio.Event()

    @property
    def link(self) -> str:
        """The address of the page, with the token in its fragment, which browsers do not send."""
        return f"{self.url}/#token={self.token}"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return self._connections.open

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._context.stopping

    def stop(self) -> None:
        """Stop the server: it accepts no new work, and running chats may end within the grace. Returns at once."""
        self._context.sessions.stopping = True
        self._stop.set()

    async def wait_stopping(self) -> None:
        """Wait until `stop` is called."""
        await self._stop.wait()


async def serve(
    config: ServerConfig,
    *,
    runtime: Runtime | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve memories over HTTP until cancelled, or until `Server.stop`; start it with ``nursery.start``.

    ::

        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, ServerConfig(root="memories", model="offline-rules"))
            print(server.link)

    Cancelling ends all connections and chats at once: the child processes of their blocks are dead, and the notes are
    as the last finished block left them.

    Args:
        runtime: use this runtime, which stays open; by default one is opened for ``config.model``.

    Raises:
        MemoryPathError: the folder cannot be used.
        SandboxUnavailableError: no sandbox tier works here.
        InvalidInputError: the model's name is unknown, or the address or the socket cannot be used.
    """
    async with AsyncExitStack() as stack:
        if runtime is None and config.model is not None:
            runtime = await stack.enter_async_context(open_runtime(config.model, history=config.history))
        limits, sync = (MemoryLimits(), False) if runtime is None else (runtime.memory_limits, runtime.sync_notes)
        history = config.history if runtime is None else runtime.history is not None
        memories = await trio.to_thread.run_sync(
            partial(Memories, config.root, limits=limits, sync=sync, history=history, policy=config.policy)
        )
        listeners, authority = await stack.enter_async_context(listening(config))
        async with trio.open_nursery() as nursery:
            sessions = Sessions(config, nursery)
            token = new_token() if config.token is None else config.token
            context = ServerContext(
                config=config,
                memories=memories,
                runs=RunDirectories(config.runs),
                runtime=runtime,
                sessions=sessions,
                token=token,
            )
            app = make_app(context)
            app.authority = authority
            connections = Connections(app, config.limits)
            server = Server(context, connections, f"http://{authority or 'localhost'}", token)
            accepting = trio.CancelScope()
            nursery.start_soon(_abort_when_cancelled, connections)
            nursery.start_soon(_accept, accepting, connections, listeners, nursery)
            task_status.started(server)
            await server.wait_stopping()
            accepting.cancel()
            with trio.move_on_after(config.grace_seconds):
                await sessions.wait_no_chats()
            sessions.close()
            with trio.move_on_after(_LAST_WORDS_SECONDS):
                await connections.finish()
            nursery.cancel_scope.cancel()


async def _accept(
    scope: trio.CancelScope,
    connections: Connections,
    listeners: list[trio.SocketListener],
    nursery: trio.Nursery,
) -> None:
    with scope:
        await trio.serve_listeners(connections.serve, listeners, handler_nursery=nursery)


async def _abort_when_cancelled(connections: Connections) -> None:
    """Close all connections when the server is cancelled: writes to clients that do not read are shielded."""
    try:
        await trio.sleep_forever()
    finally:
        connections.abort()
