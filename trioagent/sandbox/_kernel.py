"""The ``kernel`` tier: each block in a confined child of a zygote (Linux: user namespaces, Landlock, seccomp)."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Mapping

import attrs
import trio

from .._config import SandboxLimits
from .._errors import MemoryRejectedError, SandboxError
from ..memory._changes import ChangeSet
from . import _frames
from ._foreign import Foreigners
from ._tier import HostTool, Outcome
from ._upper import read_changes
from ._zygote import Child, Zygote, ZygoteStartError

MAX_TOOL_CALLS = 1000
# Below these a layer is read in this thread: handing it to another costs more (about 0.1 ms) than reading it.
_SMALL_BYTES, _SMALL_FILES = 256 * 1024, 64


class _Died(Exception):  # internal
    """A child's socket ended before its reply."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class KernelTier:
    """One zygote, started again if it dies, and at most ``limits.parallel`` running blocks."""

    tier = "kernel"

    def __init__(self, limits: SandboxLimits, zygote: Zygote) -> None:
        self.limits = limits
        self._zygote = zygote
        self._starting = trio.Lock()
        self._running = trio.CapacityLimiter(limits.parallel)
        self._foreigners = Foreigners(all_ids=bool(zygote.hello.get("all_ids")))

    @classmethod
    async def start(cls, limits: SandboxLimits) -> KernelTier:
        """Start the zygote. Raises ZygoteStartError."""
        return cls(limits, await Zygote.start(limits))

    @property
    def hello(self) -> Mapping[str, object]:
        """What the zygote said of itself when it started."""
        return self._zygote.hello

    @property
    def pid(self) -> int:
        """The zygote's outer process."""
        return self._zygote.pid

    async def aclose(self) -> None:
        await self._zygote.aclose()

    async def execute(
        self, code: str, *, root_fd: int | None, hide: bool, host_tools: Mapping[str, HostTool]
    ) -> Outcome:
        if root_fd is None:
            return await self._execute(code, None, None, hide=False, host_tools=host_tools)
        async with self._foreigners.lower(root_fd) as lower_fd:
            outcome = await self._execute(code, root_fd, lower_fd, hide=hide, host_tools=host_tools)
        if any(f"[Errno {number}]" in outcome.error for number in (errno.EACCES, errno.EPERM, errno.EOVERFLOW)):
            self._foreigners.forget(root_fd)
        return outcome

    async def _execute(
        self, code: str, root_fd: int | None, lower_fd: int | None, *, hide: bool, host_tools: Mapping[str, HostTool]
    ) -> Outcome:
        place = _Place(self._running)
        await place.take()
        try:
            zygote = await self._living_zygote()
            child = await zygote.fork(lower_fd, hide=hide)
            try:
                try:
                    outcome = await _Conversation(child, self.limits, host_tools, place).run(code)
                finally:
                    # Dead, not merely signalled: nobody writes to the layer any more, and the descriptors may go.
                    await child.kill()
                if root_fd is None or outcome.error:
                    return outcome
                try:
                    return attrs.evolve(outcome, changes=await self._changes(child.upper, root_fd))
                except MemoryRejectedError as error:
                    return attrs.evolve(outcome, error=f"{type(error).__name__}: {error}")
            finally:
                child.close()
        finally:
            place.free()

    async def _living_zygote(self) -> Zygote:
        """The zygote, or a new one if something (the kernel's out-of-memory killer) ended it."""
        if self._zygote.alive:
            return self._zygote
        async with self._starting:
            if not self._zygote.alive:
                await self._zygote.aclose()
                try:
                    self._zygote = await Zygote.start(self.limits)
                except ZygoteStartError as error:
                    raise SandboxError(
                        f"the zygote died and did not start again: {error.step}: {error.detail}"
                    ) from error
            return self._zygote

    async def _changes(self, upper: int, root: int) -> ChangeSet:
        """Read the layer; in a worker thread if it is large, uncancellable there (bounded by ``view_bytes``)."""
        layer = os.fstatvfs(upper)
        small = (
            layer.f_blocks - layer.f_bfree
        ) * layer.f_frsize <= _SMALL_BYTES and layer.f_files - layer.f_ffree <= _SMALL_FILES
        limit = self.limits.view_bytes
        if small:
            return read_changes(upper, root, max_bytes=limit)
        return await trio.to_thread.run_sync(lambda: read_changes(upper, root, max_bytes=limit))


class _Place:
    """A block's place among those that may run at once; given up while the block waits for a host tool.

    A tool may well run another agent's blocks: if waiting blocks kept their places, enough of them would wait for ever.
    """

    def __init__(self, running: trio.CapacityLimiter) -> None:
        self._running = running
        self._taken = False

    async def take(self) -> None:
        await self._running.acquire_on_behalf_of(self)
        self._taken = True

    def free(self) -> None:
        if self._taken:
            self._running.release_on_behalf_of(self)
            self._taken = False


class _Conversation:
    """Send one child its code, serve its calls, take its reply."""

    def __init__(
        self,
        child: Child,
        limits: SandboxLimits,
        host_tools: Mapping[str, HostTool],
        place: _Place,
    ) -> None:
        self._channel = child.channel
        self._limits, self._host_tools, self._place = limits, host_tools, place
        self._received = bytearray()
        self._clock = trio.CancelScope()

    async def run(self, code: str) -> Outcome:
        seconds = self._limits.wall_seconds
        self._clock.deadline = trio.current_time() + seconds
        outcome: Outcome | None = None
        with self._clock:
            outcome = await self._run(code)
        if outcome is None:
            return Outcome(error=f"TimeoutError: the block ran longer than {seconds:g} s and was stopped.")
        return outcome

    async def _run(self, code: str) -> Outcome:
        try:
            await self._send(_frames.encode({"code": code, "tools": list(self._host_tools)}))
            for _ in range(MAX_TOOL_CALLS + 1):
                match await self._receive():
                    case _frames.Reply(values, error, printed, reads):
                        return Outcome(locals=values, error=error, printed=printed, reads=tuple(reads))
                    case _frames.Call() as call:
                        await self._send(await self._answer(call))
            return Outcome(error=f"RuntimeError: the block called tools more than {MAX_TOOL_CALLS} times.")
        except _frames.FrameError as error:
            return Outcome(error=f"RuntimeError: the block spoiled its own answer ({error}).")
        except _Died as death:
            return Outcome(error=_cause_of_death(death.status, self._limits))

    async def _answer(self, call: _frames.Call) -> bytes:
        """Run a host tool in the calling task, in the caller's scope. The block's clock stands still meanwhile."""
        tool = self._host_tools.get(call.name)
        if tool is None:
            return _frames.encode({"error": f"there is no tool {call.name[:100]!r}"})
        left = self._clock.deadline - trio.current_time()
        self._clock.deadline = float("inf")
        self._place.free()
        answer = await _call_tool(tool, call)
        await self._place.take()
        self._clock.deadline = trio.current_time() + left
        if len(answer) > self._limits.reply_bytes:
            return _frames.encode({"error": f"{call.name}() answered more than {self._limits.reply_bytes} bytes"})
        return answer

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._channel.send(rest, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._channel)
            except OSError:
                return  # the child has gone; what is left to read says why

    async def _receive(self) -> _frames.Reply | _frames.Call:
        await self._fill(_frames.HEADER)
        if self._received.startswith(_frames.DEATH_MARK):
            await self._fill(_frames.DEATH.size)
            raise _Died(_frames.death_status(bytes(self._received)))
        size = _frames.frame_size(bytes(self._received[: _frames.HEADER]), self._limits.reply_bytes)
        await self._fill(_frames.HEADER + size)
        body = bytes(self._received[_frames.HEADER : _frames.HEADER + size])
        del self._received[: _frames.HEADER + size]
        return _frames.decode(body)

    async def _fill(self, wanted: int) -> None:
        """Receive until *wanted* bytes are there."""
        while len(self._received) < wanted:
            await trio.lowlevel.wait_readable(self._channel)
            try:
                part = self._channel.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionError:
                part = b""
            if not part:
                raise _Died(_frames.death_status(bytes(self._received)))
            self._received += part


async def _call_tool(tool: HostTool, call: _frames.Call) -> bytes:
    try:
        value = await tool(*call.args, **call.kwargs)
    except Exception as error:  # noqa: BLE001  # the tool's failure is the block's to handle; Cancelled passes
        return _frames.encode({"error": f"{type(error).__name__}: {error}"})
    try:
        return _frames.encode({"value": value})
    except (TypeError, ValueError, RecursionError) as error:
        return _frames.encode({"kind": "TypeError", "error": f"{call.name}() returned what is not JSON: {error}"})


def _cause_of_death(status: int | None, limits: SandboxLimits) -> str:
    """In words for the model, why a block ended without a reply."""
    if status is None:
        return "RuntimeError: the block ended without an answer."
    if not os.WIFSIGNALED(status):
        return f"RuntimeError: the block ended its process itself (exit status {os.WEXITSTATUS(status)})."
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return f"TimeoutError: the block used more than {limits.cpu_seconds} s of processor time and was stopped."
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        return f"RuntimeError: the block crashed the interpreter ({name})."
    return f"RuntimeError: the block was killed ({name}), most likely for using too much memory or processor time."
