"""A server for browser tests: in a thread of its own, as the browser is driven by blocking calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trioagent.server import Server, ServerConfig, serve


@contextmanager
def page_server(root: Path | None, **settings: Any) -> Iterator[str]:
    """Serve until the block ends; gives the link.

    Args:
        root: the folder of memories.
        settings: of `ServerConfig`.
    """
    config = ServerConfig(root=root, port=0, **settings)
    ready, scope = threading.Event(), trio.CancelScope()
    started: list[tuple[Server, trio.lowlevel.TrioToken]] = []
    errors: list[BaseException] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with scope:
                server: Server = await nursery.start(partial(serve, config))
                started.append((server, trio.lowlevel.current_trio_token()))
                ready.set()
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's thread
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="page server")
    thread.start()
    ready.wait()
    try:
        if started:
            yield started[0][0].link
    finally:
        if started and thread.is_alive():
            started[0][1].run_sync_soon(scope.cancel)
        thread.join()
        if errors:
            raise errors[0]
