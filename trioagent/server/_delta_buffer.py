"""Buffers the deltas of an answer for clients: the first one is sent at once, later ones are joined."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .._parsed_reply import Delta, Kind

JOIN_SECONDS = 0.1  # a frame costs 0.1 ms of CPU time, and a delta often is one word


class DeltaBuffer:
    """Joins the deltas that arrive within `JOIN_SECONDS` of the last one that was sent.

    Args:
        publish: sends a delta; must not block.
    """

    def __init__(self, publish: Callable[[Delta], None]) -> None:
        self._publish = publish
        self._kind: Kind = "reply"
        self._texts: list[str] = []
        self._quiet_until = -1.0
        self._waiting = trio.lowlevel.ParkingLot()

    def add(self, delta: Delta) -> None:
        """Publish *delta*, now or soon."""
        if self._texts and delta.kind != self._kind:
            self.flush()
        self._kind = delta.kind
        self._texts.append(delta.text)
        if trio.current_time() >= self._quiet_until:
            self.flush()
        elif len(self._texts) == 1:
            self._waiting.unpark()

    def flush(self) -> None:
        """Publish what is buffered."""
        if self._texts:
            text = "".join(self._texts)
            self._texts.clear()
            self._quiet_until = trio.current_time() + JOIN_SECONDS
            self._publish(Delta(self._kind, text))

    def restart(self) -> None:
        """The buffered deltas have been published; the next delta is sent at once."""
        self.flush()
        self._quiet_until = -1.0

    async def run(self) -> None:
        """Publish buffered deltas when they are due, until cancelled."""
        while True:
            if not self._texts:
                await self._waiting.park()
            await trio.sleep_until(self._quiet_until)
            if trio.current_time() >= self._quiet_until:  # else a flush has postponed it
                self.flush()
