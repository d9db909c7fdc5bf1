"""The loopback model server in a thread of its own, for programs and tests that do not run Trio."""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from ._server import Answer, Handler, ModelServer, serve_model


@contextmanager
def model_server(
    script: Iterable[Answer] | Handler,
    *,
    port: int = 0,
    record: bool = True,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[ModelServer]:
    """Run `serve_model` in a thread until the block ends; for synchronous, asyncio and other programs.

    ::

        with model_server(["<think></think><python></python><reply>Hello.</reply>"]) as server:
            os.environ["TRIOAGENT_BASE_URL"] = server.base_url
            ...

    The server's attributes may be read from any thread; its methods belong to the Trio thread. When the block ends,
    open connections are closed, and the thread ends before the block is left.

    Args:
        script, port, record, ssl_context: see `serve_model`. A handler runs in the server's thread.

    Raises:
        OSError: the port cannot be used.
        Exception: as raised by a handler; at the end of the block.
    """
    runner = _Runner(partial(serve_model, script, port=port, record=record, ssl_context=ssl_context))
    thread = threading.Thread(target=runner.run, name="trioagent model server")
    thread.start()
    try:
        server = runner.wait_started()
        yield server
    finally:
        runner.stop()
        thread.join()
    if (error := server.handler_error or runner.error) is not None:
        raise error


class _Runner:
    """The code that runs in the thread.

    Attributes:
        error: of the server, once its thread has ended.
    """

    def __init__(self, serve: Callable[..., Awaitable[None]]) -> None:
        self.error: BaseException | None = None
        self._serve = serve
        self._started: queue.SimpleQueue[ModelServer | BaseException] = queue.SimpleQueue()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()

    def run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that uses the server
            self.error = error
            self._started.put(error)

    def wait_started(self) -> ModelServer:
        started = self._started.get()
        if isinstance(started, BaseException):
            raise started
        return started

    def stop(self) -> None:
        """Cancel the server; returns at once."""
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)

    def started(self, server: ModelServer) -> None:
        """Called by `serve_model` as its ``task_status``: without a nursery, which would put its errors into groups."""
        self._started.put(server)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            await self._serve(task_status=self)
