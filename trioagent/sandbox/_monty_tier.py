"""The ``monty`` tier: blocks in Pydantic Monty, an interpreter for a subset of Python.

Three processes are between a block and the machine. The *worker* is Monty itself: it has no files, only its pipes. The
*tool server* answers the worker's calls: it runs the tools over a private view of the memory, which it can read and not
write. The *supervisor* starts pairs of the two, and ends them; it keeps nothing of any block. Each is confined as far
as the kernel can (`_guest.monty.confine`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import attrs
import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from .._json_steps import decode_steps
from .._steps import STEP_NAMES, Steps, run_steps
from ..memory import ChangeSet, is_inside
from ..tools import DEFAULT_RULES, AccessRules
from . import _frames
from ._block_session import Attempts, BlockLostError, BlockSession, ChildDied, RunSlot
from ._control_group import BlockShare, ControlGroup
from ._guest.limits import HEADER_BYTES, MAX_CHANGES_BYTES, MAX_PATH_CHARS
from ._monty_supervisor import Installed, Pair, Supervisor
from ._pressure import MemoryPressure
from ._sandbox import CodeNotSentError, HostTool, NotAnsweredError, Outcome, TierStartError
from ._zygote import AS_USUAL, NO_SIGNAL, SILENT, START_SECONDS, Child, ProcessSettings, start_again


class ToolServerSession(BlockSession):
    """One block with one tool server; after its reply, `finish` may be called."""

    async def order(self, root_fd: int | None) -> None:
        """Pass the memory's folder to the tool server, which may have died while it was idle.

        Raises:
            CodeNotSentError: it is dead, or hangs.
        """
        answer = b""
        try:
            self._hand_over(root_fd)
            with trio.move_on_after(START_SECONDS):  # it may have to restart its worker
                await trio.lowlevel.wait_readable(self._channel)
            answer = self._channel.recv(1)
        except BlockingIOError:
            raise NotAnsweredError(f"a tool server did not answer within {START_SECONDS:.0f} s") from None
        except OSError:
            pass
        if answer != b"R":
            raise CodeNotSentError("a tool server died before it got its block")

    def _hand_over(self, root_fd: int | None) -> None:
        if root_fd is None:
            self._channel.send(b"B", NO_SIGNAL)
            return
        # Opened again: a duplicate would hold the memory's lock as long as the tool server keeps it.
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        try:
            socket.send_fds(self._channel, [b"B"], [folder], NO_SIGNAL)
        finally:
            os.close(folder)

    async def finish(self) -> tuple[ChangeSet, bool]:
        """After the reply: the changes, and whether the pair can run another block.

        Raises:
            FrameError: the data is not what an honest tool server sends.
        """
        await self._fill(HEADER_BYTES)
        size = _frames.frame_size(bytes(self._received[:HEADER_BYTES]), MAX_CHANGES_BYTES)
        index = await run_steps(_decode(await self._take(HEADER_BYTES + size), self._limits))
        writes = {path: await self._take(length) for path, length in index["writes"]}
        changes = ChangeSet(
            writes=writes,
            deletes=frozenset(index["deletes"]),
            made_dirs=frozenset(index["made_dirs"]),
            removed_dirs=frozenset(index["removed_dirs"]),
        )
        if self._received:
            _refuse("more than was announced")
        return changes, index["alive"]

    async def _take(self, size: int) -> bytes:
        await self._fill(size)
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def _decode(frame: bytes, limits: SandboxLimits) -> Steps[dict[str, Any]]:
    """The index of changes, validated: all paths inside the memory, all sizes within the limits."""
    try:
        data = yield from decode_steps(frame[HEADER_BYTES:], max_values=_frames.MAX_VALUES)
    except (ValueError, MemoryError) as error:
        raise _frames.FrameError(f"not a frame: {type(error).__name__}") from None
    match data:
        case {"alive": bool() as alive, "changes": dict() as changes} if len(data) == 2:
            pass
        case _:
            _refuse("no index of changes")
    if changes and changes.keys() != {"writes", "deletes", "made_dirs", "removed_dirs"}:
        _refuse("other kinds of changes than there are")
    writes: list[tuple[str, int]] = []
    left = limits.view_bytes
    for number, item in enumerate(_list(changes, "writes")):
        if number % STEP_NAMES == STEP_NAMES - 1:
            yield
        match item:
            case [str() as path, int() as size] if type(size) is int and 0 <= size <= min(left, limits.file_bytes):
                writes.append((_inside(path), size))
                left -= size
            case _:
                _refuse("a write that breaks the limits")
    if len(writes) > limits.view_files or len({path for path, _ in writes}) != len(writes):
        _refuse("too many writes, or one twice")
    rest: dict[str, list[str]] = {}
    for kind in ("deletes", "made_dirs", "removed_dirs"):
        paths, rest[kind] = _list(changes, kind), []
        for start in range(0, len(paths), STEP_NAMES):
            rest[kind] += map(_inside, paths[start : start + STEP_NAMES])
            yield
    return {"alive": alive, "writes": writes, **rest}


def _list(changes: dict[str, Any], kind: str) -> list[Any]:
    value = changes.get(kind, [])
    return value if type(value) is list else _refuse(f"{kind} is no list")


def _inside(path: object) -> str:
    if type(path) is not str or len(path) > MAX_PATH_CHARS or not is_inside(path):
        _refuse("a path outside of the memory")
    return path


def _refuse(what: str) -> NoReturn:
    raise _frames.FrameError(f"not a frame: {what}")


# Of a pair: the client's runtime has a thread per processor; besides the worker's memory for a block, the tool server
# gets as much, and both need some for themselves.
_SHARE = BlockShare(memories=3, threads=16 + (os.cpu_count() or 1))


class MontyTier:
    """One supervisor, restarted if it dies, and at most ``limits.parallel`` running blocks."""

    tier = "monty"

    def __init__(
        self,
        limits: SandboxLimits,
        supervisor: Supervisor,
        group: ControlGroup | None = None,
        processes: ProcessSettings = AS_USUAL,
    ) -> None:
        self.limits, self._group, self._processes = limits, group, processes
        self._supervisor = supervisor
        self._starting = trio.Lock()
        self._running = trio.CapacityLimiter(limits.parallel)
        self._pressure = MemoryPressure(limits.memory_bytes + limits.view_bytes)
        self._idle: list[tuple[Supervisor, Pair]] = []

    @classmethod
    async def start(
        cls, limits: SandboxLimits, installed: Installed | None = None, *, processes: ProcessSettings = AS_USUAL
    ) -> MontyTier:
        """Start the supervisor and a first pair.

        Args:
            installed: the extra; by default the one that `find` finds.

        Raises:
            TierStartError: the extra is not installed, or its worker cannot run here.
        """
        group = processes.make_group(limits, _SHARE)
        try:
            supervisor = await Supervisor.start(limits, installed, group, processes)
        except BaseException:
            if group is not None:
                group.close()
            raise
        tier = cls(limits, supervisor, group, processes)
        try:
            tier._idle.append((supervisor, await supervisor.fork()))
        except CodeNotSentError as error:
            await tier.aclose()
            raise TierStartError("worker", error.problem) from error
        except BaseException:
            await tier.aclose()
            raise
        return tier

    @property
    def handshake(self) -> Mapping[str, object]:
        """What the supervisor reported on its start: ``landlock`` (the ABI, 0 for none) and ``seccomp``."""
        return self._supervisor.handshake

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return self._supervisor.pid

    @property
    def zygotes(self) -> int:
        return 0

    def use_background(self, nursery: trio.Nursery) -> None:
        pass  # no background work

    async def aclose(self) -> None:
        for _, pair in self._idle:
            pair.channel.close()
        self._idle.clear()
        try:
            await self._supervisor.aclose()
        finally:
            if self._group is not None:
                self._group.close()

    async def execute(
        self,
        code: str,
        *,
        root_fd: int | None,
        hide: bool,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules = DEFAULT_RULES,
    ) -> Outcome:
        slot, attempts = RunSlot(self._running, self._pressure), Attempts()
        descriptors = await slot.begin()

        async def once() -> Outcome:
            pair = await descriptors.open_when_possible(self._pair)
            return await self._run_once(pair, code, root_fd, host_tools, rules, slot, attempts)

        try:
            return await attempts.run(once)
        finally:
            slot.end()

    async def _run_once(
        self,
        found: tuple[Supervisor, Pair],
        code: str,
        root_fd: int | None,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules,
        slot: RunSlot,
        attempts: Attempts,
    ) -> Outcome:
        """Run the block in one pair.

        Raises:
            CodeNotSentError: the pair was lost before it got the code.
            BlockLostError: the supervisor, and so the pair, was lost while the block ran.
        """
        supervisor, pair = found
        healthy = False
        try:
            exchange = ToolServerSession(cast(Child, pair), self.limits, host_tools, slot, rules)
            await exchange.order(root_fd)
            try:
                outcome, healthy = await self._run(exchange, code)
            finally:
                attempts.called |= exchange.called
            if not healthy and not supervisor.alive:
                raise BlockLostError
            if exchange.ended_unseen:
                seconds, size = self.limits.cpu_seconds, self.limits.memory_bytes >> 20
                why = f"what the block asked of its tools took more than {seconds} s of processor time or {size} MiB"
                return Outcome(error=f"RuntimeError: {why}, and was stopped.")
            return outcome
        finally:
            # Dead, not merely signalled, when this returns: no process works on for a block that has ended.
            if healthy and len(self._idle) < self.limits.parallel:
                self._idle.append((supervisor, pair))
            else:
                await supervisor.end(pair)

    async def _run(self, exchange: ToolServerSession, code: str) -> tuple[Outcome, bool]:
        outcome = await exchange.run(code)
        if not exchange.replied:
            return outcome, False
        try:
            with trio.fail_after(self.limits.wall_seconds):
                changes, alive = await exchange.finish()
        except (_frames.FrameError, ChildDied, trio.TooSlowError) as error:
            return Outcome(error=f"RuntimeError: the block corrupted its own reply ({error})."), False
        return (outcome if outcome.error else attrs.evolve(outcome, changes=changes)), alive

    async def _pair(self) -> tuple[Supervisor, Pair]:
        """An idle pair, or a new one."""
        if self._idle:
            return self._idle.pop()
        supervisor = await self._living_supervisor()
        try:
            return supervisor, await supervisor.fork()
        except TierStartError as error:
            if error.step == SILENT:
                raise CodeNotSentError(error.detail) from error
            raise SandboxError(f"a worker did not start: {error.step}: {error.detail}") from error

    async def _living_supervisor(self) -> Supervisor:
        """The supervisor, or a new one if it was killed (by the kernel's out-of-memory killer, say) or hangs."""
        if self._supervisor.alive:
            return self._supervisor
        async with self._starting:
            if not self._supervisor.alive:
                await self._supervisor.aclose()
                self._supervisor = await start_again(
                    lambda: Supervisor.start(self.limits, group=self._group, processes=self._processes), "a supervisor"
                )
            return self._supervisor
