"""Trio beside a terminal: the main thread reads lines and receives signals, and Trio runs in a thread of its own.

Only in the main thread can Ctrl-C interrupt `input`, and a main thread that waits in `input` cannot run an event loop.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Generic, Protocol, TypeVar

import trio

from ._interrupts import Interrupts

T = TypeVar("T")


class LineSource(Protocol):
    """Reads lines; blocks its thread."""

    def read(self, prompt: str, *, kept: bool) -> str: ...


class _Request:
    """A request of the Trio thread for one line."""

    def __init__(self, prompt: str, kept: bool) -> None:
        self.prompt, self.kept, self.line = prompt, kept, ""
        self.error: BaseException | None = None
        self.answered = trio.Event()


class Foreground(Generic[T]):
    """The main thread, as the code in the Trio thread sees it; made by `run_beside_terminal`."""

    def __init__(self, main: Callable[[Foreground[T]], Awaitable[T]], lines: LineSource) -> None:
        self._main, self._lines = main, lines
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._token: trio.lowlevel.TrioToken | None = None
        self._interrupts = Interrupts()
        self.open_interrupts = self._interrupts.open
        self.interrupt = self._interrupts.interrupt
        self._reading = False
        self._result: list[T] = []
        self._error: BaseException | None = None

    # In the Trio thread.

    async def read_line(self, prompt: str, *, kept: bool = True) -> str:
        """Have the main thread read a line. Cancelling interrupts the read.

        Args:
            kept: the line goes into the history.

        Raises:
            EOFError: there is no further line.
            KeyboardInterrupt: Ctrl-C while it was being read.
        """
        request, reader = _Request(prompt, kept), threading.main_thread().ident
        assert reader is not None
        self._requests.put(request)
        try:
            await request.answered.wait()
        except trio.Cancelled:
            while not request.answered.is_set():
                signal.pthread_kill(reader, signal.SIGINT)
                with trio.move_on_after(0.05, shield=True):  # retry, if the signal came before the read had begun
                    await request.answered.wait()
            raise
        if request.error is not None:
            raise request.error
        return request.line

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._result.append(await self._interrupts.run(lambda: self._main(self)))

    def _thread(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        finally:
            self._requests.put(None)

    # In the main thread.

    def run(self) -> T:
        """See `run_beside_terminal`."""
        thread = threading.Thread(target=self._thread, name="trioagent chat")
        previous = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            thread.start()
            while (request := self._requests.get()) is not None:
                self._answer(request)
            thread.join()
        finally:
            signal.signal(signal.SIGINT, previous)
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _answer(self, request: _Request) -> None:
        try:
            self._reading = True
            request.line = self._lines.read(request.prompt, kept=request.kept)
        except BaseException as error:  # noqa: BLE001 - raised again in the Trio thread
            request.error = error
        self._reading = False
        assert self._token is not None, "a request comes from a running Trio"
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(request.answered.set)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        if self._reading:
            self._reading = False  # so that each read gets only one exception
            raise KeyboardInterrupt
        self._interrupts.on_signal(number, frame)


def run_beside_terminal(main: Callable[[Foreground[T]], Awaitable[T]], lines: LineSource) -> T:
    """Run ``main(foreground)`` with Trio in a thread, and serve its reads from *lines* in this one, the main thread.

    Returns when Trio has ended, with the result of *main*. The thread does not outlive the call.

    Raises:
        KeyboardInterrupt: SIGINT arrived while no line was read and no `Foreground.open_interrupts` was open; *main*
            has been cancelled.
        BaseException: the exception of *main*.
    """
    return Foreground(main, lines).run()
