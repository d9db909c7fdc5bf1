"""The arena of attacks for the monty tier."""

from __future__ import annotations

from .arena import Arena
from .monty_tier import MontyBackground


class PairArena(Arena):
    """Where the supervisor and a pair that waits for the next block are no leftovers, and everything else is."""

    def __init__(self, background: MontyBackground) -> None:
        super().__init__(background.run)
        self._tier = background.executor

    def _processes(self) -> set[int]:
        waiting = {pid for _, pair in self._tier._idle for pid in (pair.tool_server, pair.worker)}
        return super()._processes() - waiting - {self._tier.pid}
