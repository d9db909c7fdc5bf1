"""Histories are filled in the background: a while after the last commit, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from ..._errors import MemoryDeadlockError, MemoryHistoryError, MemoryPathError, MemoryStorageError
from ._revisions import HistoryUpdate

_QUIET = 2.0  # s after the last commit to a memory
_LONGEST = 60.0  # s after the first one
_AT_EXIT = 5.0  # s for what is left at the end; the next reader of the history does the rest

_log = logging.getLogger("trioagent")

Update = Callable[[], Awaitable[HistoryUpdate]]


@attrs.define
class _Waiting:
    """A memory with commits that are not in its store."""

    update: Update
    first: float
    last: float

    @property
    def due(self) -> float:
        return min(self.last + _QUIET, self.first + _LONGEST)


class HistoryUpdater:
    """Knows which histories are to be filled. Nothing is lost if it never runs: the journal has every commit."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._reported: set[str] = set()
        self._changed = trio.Event()
        self._one_at_a_time = trio.Lock()

    def note_commit(self, path: str, update: Update) -> None:
        """Record a new commit in the journal of the memory at *path*."""
        now = trio.current_time()
        waiting = self._waiting.get(path)
        self._waiting[path] = _Waiting(update, now if waiting is None else waiting.first, now)
        self._changed.set()

    def leave_rest(self) -> None:
        """Leave waiting commits to the next reader of the histories: the program wants to exit."""
        self._waiting.clear()

    async def run(self) -> None:
        """Fill histories as they become due, without end."""
        while True:
            if not self._waiting:
                self._changed = trio.Event()
                await self._changed.wait()
            await trio.sleep_until(min(waiting.due for waiting in self._waiting.values()))
            async with self._one_at_a_time:
                now = trio.current_time()
                path = next((path for path, waiting in self._waiting.items() if waiting.due <= now), None)
                if path is not None:
                    await self._fill(path)

    async def finish(self) -> None:
        """Fill what is left, for a few seconds at most."""
        with trio.move_on_after(_AT_EXIT):
            async with self._one_at_a_time:  # `run` finishes its present history first
                while self._waiting:
                    await self._fill(next(iter(self._waiting)))

    async def _fill(self, path: str) -> None:
        waiting = self._waiting.pop(path)
        try:
            await waiting.update()
        except (MemoryDeadlockError, MemoryHistoryError, MemoryPathError, MemoryStorageError) as error:
            if path not in self._reported:  # it is retried after the next commit, and reported once
                self._reported.add(path)
                _log.warning("the commits of %s stay in its journal for now: %s", path, error)
        except BaseException:
            self._waiting.setdefault(path, waiting)
            raise
