"""A block session: the host sends one child its code, serves its tool calls and receives its reply. And run slots."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import attrs
import trio

from .._config import SandboxLimits
from .._descriptors import BLOCK, Hold, descriptor_budget
from .._errors import SandboxError
from .._exceptions import leaves
from .._steps import STEP_NAMES, Steps, run_steps
from ..memory import SeenNotes
from ..tools import DEFAULT_RULES, AccessRules
from . import _frames
from ._guest.limits import HEADER_BYTES
from ._pressure import MemoryPressure
from ._sandbox import CodeNotSentError, HostTool, NotAnsweredError, Outcome
from ._zygote import NO_SIGNAL, Child, receive

T = TypeVar("T")
MAX_TOOL_CALLS = 1000
_SEEN = ("read", "replaced")
MAX_FULL_FRAMES = 16  # all frames of a block together may be so many times as large as one frame may be


class ChildDied(Exception):  # internal
    """A child's socket ended before its reply."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class BlockLostError(Exception):  # internal
    """A block that had begun was lost because a process that serves it died, not because of its code."""


MAX_ATTEMPTS = 20
"""The most attempts at running one block: what has killed so many children would kill the next one, too."""
_LOST = "the process that ran the block was killed from outside"


@attrs.define
class Attempts:
    """The attempts at running one block.

    Until its changes are committed, which comes later, a block has changed nothing but its own view. So a block that
    was lost is run again, unless it has called host tools, whose effects cannot be undone.

    Attributes:
        called: the block has called a host tool.
        begun: one of them was lost when the block had begun.
        count: failed attempts; one that ended in a long timeout counts several times.
    """

    called: bool = False
    count: float = 0
    begun: bool = False

    async def run(self, once: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """The outcome of the first attempt that is not lost; *once* may raise CodeNotSentError or BlockLostError.

        Raises:
            SandboxError: no child ever received the code.
        """
        while True:
            try:
                return await once()
            except CodeNotSentError as error:
                self.count += error.cost
                if self.count < MAX_ATTEMPTS:
                    continue
                if self.begun and error.cost <= 1:
                    return Outcome(error=f"RuntimeError: {_LOST}, each time.")
                raise SandboxError(error.problem) from error
            except BlockLostError:
                self.count += 1
                self.begun = True
                if self.called:
                    return Outcome(error=f"RuntimeError: {_LOST}, after it had called a tool outside of the sandbox.")
                if self.count >= MAX_ATTEMPTS:
                    return Outcome(error=f"RuntimeError: {_LOST}, each time.")


class RunSlot:
    """One of the `SandboxLimits.parallel` slots for running blocks; released while the block waits for a host tool.

    A tool may run another agent's blocks: if waiting blocks kept their slots, enough of them would deadlock.
    """

    def __init__(self, running: trio.CapacityLimiter, pressure: MemoryPressure | None = None) -> None:
        self._running, self._pressure = running, pressure
        self._taken = False
        self._descriptors: Hold | None = None

    async def begin(self) -> Hold:
        """Wait for the slot, and for the file descriptors of a child, which are reserved until `end`."""
        await self.acquire()
        try:
            descriptors = await descriptor_budget().take(BLOCK, priority=True)
        except BaseException:
            self.release()
            raise
        self._descriptors = descriptors
        return descriptors.__enter__()

    def end(self) -> None:
        """Release the slot and the descriptors."""
        if self._descriptors is not None:
            self._descriptors.__exit__(None, None, None)
        self.release()

    async def acquire(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._running.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            with descriptor_budget().waiting_elsewhere():
                await self._running.acquire_on_behalf_of(self)
        try:
            if self._pressure is not None:
                await self._pressure.begin()
        except BaseException:
            self._running.release_on_behalf_of(self)
            raise
        self._taken = True

    def release(self) -> None:
        if self._taken:
            self._running.release_on_behalf_of(self)
            if self._pressure is not None:
                self._pressure.end()
            self._taken = False


class BlockSession:
    """Send one child its code, serve its calls, take its reply."""

    def __init__(
        self,
        child: Child,
        limits: SandboxLimits,
        host_tools: Mapping[str, HostTool],
        slot: RunSlot,
        rules: AccessRules = DEFAULT_RULES,
    ) -> None:
        self._rules = rules
        self._channel = child.channel
        self._limits, self._host_tools, self._slot = limits, host_tools, slot
        self.called = False  # whether it has called a host tool
        self.replied = False
        self.timed_out = False
        self.ended_unseen = False  # the child's exit status is not known
        self._received = bytearray()
        self._left = MAX_FULL_FRAMES * limits.reply_bytes

    @property
    def _setup_seconds(self) -> float:
        """The timeout for a child's set-up, before its block begins."""
        return math.inf

    async def run(self, code: str, *, seconds: float | None = None) -> Outcome:
        """The block's outcome, however it ends. *seconds*: its wall clock limit, if not that of the sandbox.

        Raises:
            CodeNotSentError: the child could not be set up, has died, or hangs.
        """
        pieces = await run_steps(_frames.encode_code(code, self._host_tools, self._rules))
        # What fits into the socket is sent at once, so that a ready child finds it; its wall clock begins then.
        rest = self._send_now(b"".join(pieces))
        begun, outcome = False, None
        # The deadline of the child's set-up, then of the block.
        self._clock = trio.CancelScope(deadline=trio.current_time() + self._setup_seconds)
        with self._clock:
            await self._wait_until_confined()
            self._clock.deadline = trio.current_time() + (self._limits.wall_seconds if seconds is None else seconds)
            begun = True
            outcome = await self._run(rest)
        if not begun:
            raise NotAnsweredError(f"a child was not set up within {self._setup_seconds:.0f} s")
        if outcome is None:
            self.timed_out = True
            limit = f"{self._limits.wall_seconds:g} s"
            return Outcome(error=f"TimeoutError: the block ran longer than {limit} and was stopped.")
        return outcome

    async def _run(self, rest: memoryview) -> Outcome:
        try:
            await self._send(rest)
            for _ in range(MAX_TOOL_CALLS + 1):
                match await self._receive():
                    case _frames.Reply() as reply:
                        self.replied = True
                        shown = _frames.bounded(reply, self._limits)
                        return Outcome(
                            locals=shown.locals,
                            error=shown.error,
                            printed=shown.printed,
                            seen=await self._off_the_clock(_seen(shown)),
                            scanned=shown.scanned,
                        )
                    case _frames.Call() as call:
                        await self._send(await self._answer(call))
            return Outcome(error=f"RuntimeError: the block called tools more than {MAX_TOOL_CALLS} times.")
        except _frames.FrameError as error:
            return Outcome(error=f"RuntimeError: the block corrupted its own reply ({error}).")
        except ChildDied as death:
            self.ended_unseen = death.status is None
            return Outcome(error=_cause_of_death(death.status, self._limits))

    async def _answer(self, call: _frames.Call) -> bytes:
        """Run a host tool in the calling task, in the caller's scope. The block's wall clock is paused meanwhile."""
        self.called = True
        tool = self._host_tools.get(call.name)
        if tool is None:
            return _frames.encode({"error": f"there is no tool {call.name[:100]!r}"})
        left = self._clock.deadline - trio.current_time()
        self._clock.deadline = float("inf")
        self._slot.release()
        answer = await _call_tool(tool, call)
        await self._slot.acquire()
        self._clock.deadline = trio.current_time() + left
        if len(answer) > self._limits.reply_bytes:
            return _frames.encode({"error": f"{call.name}() answered more than {self._limits.reply_bytes} bytes"})
        return answer

    async def _send(self, data: bytes | memoryview) -> None:
        while (rest := self._send_now(data)) and await self._may_send():
            data = rest

    def _send_now(self, data: bytes | memoryview) -> memoryview:
        """Send as much as can be sent at once; returns the rest."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._channel.send(rest, NO_SIGNAL) :]
        except BlockingIOError:
            return rest
        except OSError:
            pass  # the child has exited; the data left to read says why
        return rest[:0]

    async def _receive(self) -> _frames.Reply | _frames.Call:
        await self._fill(HEADER_BYTES)
        if self._received.startswith(_frames.DEATH_MARK):
            await self._fill(_frames.DEATH.size)
            raise ChildDied(_frames.death_status(bytes(self._received)))
        size = _frames.frame_size(bytes(self._received[:HEADER_BYTES]), self._limits.reply_bytes)
        self._left -= size
        if self._left < 0:
            raise _frames.FrameError(f"more than {MAX_FULL_FRAMES * self._limits.reply_bytes} bytes in all")
        await self._fill(HEADER_BYTES + size)
        body = bytes(self._received[HEADER_BYTES : HEADER_BYTES + size])
        del self._received[: HEADER_BYTES + size]
        return await self._off_the_clock(_frames.decode(body))

    async def _off_the_clock(self, steps: Steps[T]) -> T:
        """What *steps* returns: decoding on the host does not count against the block.

        If one step suffices, as for most frames, nothing has waited, and the clock need not be stopped.
        """
        began = trio.current_time()
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        left = self._clock.deadline - began
        self._clock.deadline = math.inf
        try:
            return await run_steps(steps)
        finally:
            self._clock.deadline = trio.current_time() + left

    async def _may_send(self) -> bool:
        """Wait until the socket has room; False if the child has exited."""
        await trio.lowlevel.wait_writable(self._channel)
        return True

    async def _wait_until_confined(self) -> None:
        """Receive what a tier's children send before they read the code, with a timeout; nothing by default."""

    async def _fill(self, wanted: int) -> None:
        """Receive until *wanted* bytes are buffered."""
        while len(self._received) < wanted:
            await trio.lowlevel.wait_readable(self._channel)
            try:
                part = receive(self._channel, 65536)
            except BlockingIOError:
                continue
            if not part:
                raise ChildDied(_frames.death_status(bytes(self._received)))
            self._received += part


async def _call_tool(tool: HostTool, call: _frames.Call) -> bytes:
    try:
        value = await tool(*call.args, **call.kwargs)
    except Exception as error:  # noqa: BLE001  # the tool's failure is the block's to handle; Cancelled passes
        words = f"{type(error).__name__}: {error}"
        if isinstance(error, BaseExceptionGroup):  # its own message does not name the errors in it
            words += ": " + "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
        return _frames.encode({"error": words})
    try:
        return _frames.encode({"value": value})
    except (TypeError, ValueError, RecursionError) as error:
        return _frames.encode({"kind": "TypeError", "error": f"{call.name}() returned what is not JSON: {error}"})


def _cause_of_death(status: int | None, limits: SandboxLimits) -> str:
    """Why a block ended without a reply, for the model."""
    if status is None:
        return "RuntimeError: the block ended without an answer."
    if status & _frames.OVERFULL:
        allowed = f"{limits.view_bytes} bytes or {limits.view_files} files"
        return f"OSError: the block wrote more than {allowed} and was stopped."
    if not os.WIFSIGNALED(status):
        return f"RuntimeError: the block ended its process itself (exit status {os.WEXITSTATUS(status)})."
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return f"TimeoutError: the block used more than {limits.cpu_seconds} s of processor time and was stopped."
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGSYS:
        return "RuntimeError: the block was stopped for a forbidden system call."
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        return f"RuntimeError: the block crashed the interpreter ({name})."
    if number != signal.SIGKILL:  # sent neither by the kernel nor by a limit, and a block cannot send signals
        return f"RuntimeError: the block was ended from outside of the sandbox ({name})."
    return f"RuntimeError: the block was killed ({name}), most likely for using too much memory or processor time."


def _seen(reply: _frames.Reply) -> Steps[SeenNotes]:
    """The notes that the block reports to have seen; a false report harms only the block itself."""
    notes: dict[str, dict[str, str | None]] = {how: {} for how in _SEEN}
    for start in range(0, len(reply.reads), STEP_NAMES):
        if start:
            yield
        for path, version, how in reply.reads[start : start + STEP_NAMES]:
            notes[how][path] = version or None
    return SeenNotes(reads=notes["read"], replaced=notes["replaced"], complete=reply.complete)
