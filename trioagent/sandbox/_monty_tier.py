"""The ``monty`` tier: blocks in Pydantic Monty, an interpreter of its own for a part of Python.

Three processes stand between a block and the machine. The *worker* is Monty itself: it sees no file, only its pipes.
The *keeper* answers the worker's calls: it runs the tools over a private view of the memory, which it can read and not
write. The *warden* makes pairs of the two, and ends them; it holds nothing of any block. Each is confined as far as the
kernel can (`_guest.monty.walls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import attrs
import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from . import _frames
from ._block_session import Died, Place
from ._monty_exchange import Exchange
from ._monty_supervisor import Pair, Warden
from ._tier import HostTool, Outcome, TierStartError
from ._zygote import Child


class MontyTier:
    """One warden, started again if it dies, and at most ``limits.parallel`` running blocks."""

    tier = "monty"

    def __init__(self, limits: SandboxLimits, warden: Warden) -> None:
        self.limits = limits
        self._warden = warden
        self._starting = trio.Lock()
        self._running = trio.CapacityLimiter(limits.parallel)
        self._idle: list[tuple[Warden, Pair]] = []

    @classmethod
    async def start(cls, limits: SandboxLimits) -> MontyTier:
        """Start the warden and a first pair.

        Raises:
            TierStartError: the extra is not installed, or something here keeps its worker from running.
        """
        warden = await Warden.start(limits)
        tier = cls(limits, warden)
        try:
            tier._idle.append((warden, await warden.fork()))
        except SandboxError as error:
            await tier.aclose()
            raise TierStartError("worker", error.problem) from error
        except BaseException:
            await tier.aclose()
            raise
        return tier

    @property
    def hello(self) -> Mapping[str, object]:
        """What the warden said when it started: ``landlock`` (the ABI, 0 for none) and ``seccomp``."""
        return self._warden.hello

    @property
    def pid(self) -> int:
        """The warden's process."""
        return self._warden.pid

    async def aclose(self) -> None:
        for _, pair in self._idle:
            pair.channel.close()
        self._idle.clear()
        await self._warden.aclose()

    async def execute(
        self, code: str, *, root_fd: int | None, hide: bool, host_tools: Mapping[str, HostTool]
    ) -> Outcome:
        place = Place(self._running)
        await place.take()
        try:
            outcome = None
            while outcome is None:
                outcome = await self._attempt(code, root_fd, host_tools, place)
            return outcome
        finally:
            place.free()

    async def _attempt(
        self, code: str, root_fd: int | None, host_tools: Mapping[str, HostTool], place: Place
    ) -> Outcome | None:
        """Run the block in one pair; None if that was dead before it got the code, which a new one never is."""
        warden, pair, new = await self._pair()
        healthy = False
        try:
            exchange = Exchange(cast(Child, pair), self.limits, host_tools, place)
            if not await exchange.order(root_fd):
                if new:
                    raise SandboxError("a new worker died before it got its first block")
                return None
            outcome, healthy = await self._run(exchange, code)
            return outcome
        finally:
            # Dead, not merely signalled, when this returns: nobody works on for a block that is over.
            if healthy and len(self._idle) < self.limits.parallel:
                self._idle.append((warden, pair))
            else:
                await warden.end(pair)

    async def _run(self, exchange: Exchange, code: str) -> tuple[Outcome, bool]:
        outcome = await exchange.run(code)
        if not exchange.replied:
            return outcome, False
        try:
            with trio.fail_after(self.limits.wall_seconds):
                changes, alive = await exchange.finish()
        except (_frames.FrameError, Died, trio.TooSlowError) as error:
            return Outcome(error=f"RuntimeError: the block spoiled its own answer ({error})."), False
        return (outcome if outcome.error else attrs.evolve(outcome, changes=changes)), alive

    async def _pair(self) -> tuple[Warden, Pair, bool]:
        """An idle pair, or a new one; and whether it is new."""
        if self._idle:
            return *self._idle.pop(), False
        warden = await self._living_warden()
        try:
            return warden, await warden.fork(), True
        except TierStartError as error:
            raise SandboxError(f"a worker did not start: {error.step}: {error.detail}") from error

    async def _living_warden(self) -> Warden:
        """The warden, or a new one if something (the kernel's out-of-memory killer) ended it."""
        if self._warden.alive:
            return self._warden
        async with self._starting:
            if not self._warden.alive:
                await self._warden.aclose()
                try:
                    self._warden = await Warden.start(self.limits)
                except TierStartError as error:
                    raise SandboxError(
                        f"the warden died and did not start again: {error.step}: {error.detail}"
                    ) from error
            return self._warden
