"""A sandbox for tests that are not async: one trio run in a thread, shared by many tests."""

from __future__ import annotations

import os
import threading
from types import TracebackType

import trio
import trio.lowlevel

from trioagent import _config
from trioagent.sandbox import BlockResult, Sandbox, open_sandbox
from trioagent.testing import LoopDelay, probe_loop_delay


class Background:
    """``with Background() as background: background.run(code, folder)``.

    Attributes:
        delay: of its event loop.
    """

    delay: LoopDelay

    def __init__(self, limits: _config.SandboxLimits = _config.SandboxLimits(), tier: str | None = None) -> None:
        self._limits, self._tier = limits, tier
        self._ready = threading.Event()
        self._done: trio.Event
        self._sandbox: Sandbox | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> Background:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        trio.from_thread.run_sync(self._done.set, trio_token=self._token)
        self._thread.join()

    def run(self, code: str, folder: str | os.PathLike[str], **options: object) -> BlockResult:
        async def run() -> BlockResult:
            assert self._sandbox is not None
            return await self._sandbox.run(code, memory_path=folder, **options)  # type: ignore[arg-type]

        return trio.from_thread.run(run, trio_token=self._token)

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001  # raised again by __enter__
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._done = trio.Event()
        async with probe_loop_delay(0.02) as self.delay, open_sandbox(self._tier, limits=self._limits) as sandbox:
            self._sandbox = sandbox
            self._ready.set()
            await self._done.wait()
