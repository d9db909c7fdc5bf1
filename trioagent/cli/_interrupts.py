"""Ctrl-C for a command that runs Trio: delivered to a receiver, or else it cancels the command."""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import trio

T = TypeVar("T")


class Interrupts:
    """SIGINT for the code in a Trio run.

    Attributes:
        cancelled: whether one has cancelled the whole command, or will as soon as it begins.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._command = trio.CancelScope()
        self._listener: trio.MemorySendChannel[int] | None = None

    @contextmanager
    def open(self) -> Iterator[trio.MemoryReceiveChannel[int]]:
        """Receive the SIGINTs that arrive in the body; at other times they cancel the whole command."""
        self._listener, signals = trio.open_memory_channel[int](math.inf)
        try:
            yield signals
        finally:
            self._listener = None

    async def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run *main*, which is cancelled by a SIGINT without a receiver.

        Raises:
            KeyboardInterrupt: that happened, and *main* has cleaned up.
        """
        self._token = trio.lowlevel.current_trio_token()
        with self._command:
            if self.cancelled:
                self._command.cancel()
            return await main()
        raise KeyboardInterrupt

    async def interrupt(self) -> None:
        """Act like a SIGINT, called from code that Trio runs; waits until that has cancelled it."""
        self._deliver()
        await trio.sleep_forever()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT, for the main thread; Trio may run in another one."""
        if self._token is None:
            self.cancelled = True
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        if self._listener is not None:
            self._listener.send_nowait(signal.SIGINT)
        else:
            self.cancelled = True
            self._command.cancel()


def run_interruptible(main: Callable[[Interrupts], Awaitable[T]]) -> T:
    """Run ``main(interrupts)`` with Trio in this thread, the main thread.

    A SIGINT never raises at an arbitrary point: a second one while the first is being handled, or while the
    process exits because of it, would interrupt the cleanup and leave children behind.

    Raises:
        KeyboardInterrupt: see `Interrupts.run`.
    """
    interrupts, received = Interrupts(), False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        interrupts.on_signal(number, frame)

    previous = signal.signal(signal.SIGINT, on_signal)
    try:
        return trio.run(interrupts.run, lambda: main(interrupts))
    finally:  # an interrupted command is about to exit, so a further Ctrl-C has nothing to stop
        if received:
            _ignore_interrupts()
        else:
            signal.signal(signal.SIGINT, previous)


def _ignore_interrupts() -> None:
    """Ignore SIGINT, without a warning about one that arrives just now.

    Python prints a warning on stderr if it has recorded a signal whose handler is then SIG_IGN ("ignored due to race
    condition"). So the operating system ignores SIGINT first, while recorded signals still find the handler.
    """
    ctypes.pythonapi.PyOS_setsig(ctypes.c_int(signal.SIGINT), ctypes.c_void_p(int(signal.SIG_IGN)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
