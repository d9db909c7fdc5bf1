"""One call over the bridge: a Trio function, its cancel scope, and its result."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from .._activity import belongs_to_no_job
from .._errors import BridgeClosedError

if TYPE_CHECKING:
    from ._bridge import Bridge

T = TypeVar("T")

calling_loop: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "trioagent_calling_loop", default=None
)
"""The event loop that waits for the current call; None if a thread does."""

_SHUT_DOWN = "it was shut down while the call was running"


class BridgeCall(Generic[T]):
    """Created by the waiting side, run by the bridge.

    Args:
        function: the async function to run in Trio.
        args: its arguments.
        wake: called in the Trio thread once the call is over; must not raise.
        loop: the event loop that waits, if one does. The call is cancelled when that loop is closed.

    Attributes:
        bridge: the bridge that the call was submitted to.
        scope: the cancel scope around the function; only for the Trio thread.
        started: the bridge has begun to run it.
        context: the waiting side's context variables on creation; the function runs in a copy.
        finished: the result is set, and everything of the call has been cleaned up.
        silent: it is finished, but the waiter is not woken, since the process is exiting.
    """

    __slots__ = (
        "_args", "_error", "_function", "_value", "_wake", "bridge", "context", "finished", "loop", "scope",
        "silent", "started",
    )  # fmt: skip

    _value: T

    def __init__(
        self,
        function: Callable[..., Awaitable[T]],
        args: tuple[object, ...],
        wake: Callable[[], object],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._function, self._args, self._wake = function, args, wake
        self._error: BaseException | None = None
        self.bridge: Bridge | None = None
        self.loop = loop
        self.context = contextvars.copy_context()
        self.context.run(calling_loop.set, loop)
        self.context.run(belongs_to_no_job)
        self.scope = trio.CancelScope()
        self.started = self.finished = self.silent = False

    @property
    def name(self) -> str:
        return getattr(self._function, "__qualname__", repr(self._function))

    async def run(self) -> None:
        """Run the function and store its result or exception; raises only the cancellation of an outer scope."""
        ended = False
        try:
            with self.scope:
                self._value = await self._function(*self._args)
                ended = True
        except trio.Cancelled:  # of an outer scope: the bridge is closing
            self._error = BridgeClosedError(_SHUT_DOWN)
            raise
        except BaseExceptionGroup as group:
            cancelled, rest = group.split(trio.Cancelled)
            self._error = group if cancelled is None else BridgeClosedError(_SHUT_DOWN)
            if cancelled is not None:
                self._error.__cause__ = rest
        except BaseException as error:  # noqa: BLE001 - the caller's to handle, in the caller's own thread
            self._error = error
        else:
            if not ended:
                self._error = BridgeClosedError("the call was cancelled")

    def finish(self, error: BaseException | None = None, *, silent: bool = False) -> None:
        """Set the result and wake the waiter; further calls have no effect.

        Args:
            error: replaces the result.
            silent: do not wake the waiter.
        """
        if self.finished:
            return
        self._error = error or self._error
        self.silent = silent  # set before `finished`: the waiter checks both
        self.finished = True
        if not silent:
            self._wake()

    @property
    def error(self) -> BaseException | None:
        """The exception that the function raised; None for a cancellation."""
        return None if isinstance(self._error, BridgeClosedError) else self._error

    def cancel(self) -> bool:
        """Request the cancellation of the function; False if the call has ended already."""
        if self.finished or self.bridge is None:
            return False
        self.bridge.cancel(self)
        return True

    def result(self) -> T:
        """The function's value, or its exception raised."""
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # its traceback refers to this frame: this avoids a reference cycle
