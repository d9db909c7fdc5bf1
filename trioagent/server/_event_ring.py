"""The latest messages of a session, numbered, and the cursors of those who read them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

_LAG = 16  # times as much as is kept for who comes back is kept for who is there, and has not read it yet


class EventRing:
    """Numbered messages, of which the latest are kept.

    Up to *most_bytes* are kept, and the last message in any case; and what a reader has not read yet, up to `_LAG`
    times as much, since a few long messages may come at once. Who is further behind holds nobody up: what it has missed
    is gone, and it gets a snapshot instead.

    Attributes:
        next_number: of the message that is appended next; the first has number 1.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: deque[bytes] = deque()
        self.next_number = 1
        self._readers: set[Subscription] = set()
        self._news = trio.lowlevel.ParkingLot()

    @property
    def first_number(self) -> int:
        """Of the earliest message that is kept."""
        return self.next_number - len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._bytes

    def append(self, message: Mapping[str, Any]) -> int:
        """Give *message* the next number, and wake who waits for it; how many bytes it has."""
        data = json.dumps({"n": self.next_number, **message}, ensure_ascii=False).encode("utf-8", "replace")
        self._kept.append(data)
        self._bytes += len(data)
        self.next_number += 1
        self.drop_old()
        self.wake()
        return len(data)

    def drop_old(self) -> None:
        """Drop what is no longer to be kept."""
        read = min((reader.number for reader in self._readers), default=self.next_number)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            if self.first_number >= read and self._bytes <= self._most_bytes * _LAG:
                break
            self._bytes -= len(self._kept.popleft())

    def since(self, number: int) -> list[bytes] | None:
        """The messages from *number* on; None if some of them are gone, or there cannot be such a number."""
        if not self.first_number <= number <= self.next_number:
            return None
        kept = len(self._kept)
        return [self._kept[index] for index in range(kept - (self.next_number - number), kept)]

    @contextmanager
    def reading(self, reader: Subscription) -> Iterator[None]:
        """Keep for *reader* what it has not read yet, until the block ends."""
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)
            self.drop_old()

    def wake(self) -> None:
        """Let everybody look again who waits."""
        self._news.unpark_all()

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        await self._news.park()


class Subscription:
    """One reader's cursor.

    Args:
        ring: what is read.
        number: of the first message to read; None: begin with a snapshot.
        snapshot: makes one, which stands for all messages so far.
        closed: whether nothing more will come.

    Attributes:
        number: of the message to read next; what comes before the snapshot of a new reader is not read.
    """

    def __init__(
        self, ring: EventRing, number: int | None, *, snapshot: Callable[[], bytes], closed: Callable[[], bool]
    ) -> None:
        self._ring = ring
        self._begins_with_snapshot = number is None
        self.number: int = ring.next_number if number is None else number
        self._snapshot, self._closed = snapshot, closed
        self._direct: deque[bytes] = deque()

    @property
    def unread(self) -> int:
        """How many messages for this reader alone wait."""
        return len(self._direct)

    def send(self, data: bytes) -> None:
        """A message without a number, for this reader alone."""
        self._direct.append(data)
        self._ring.wake()

    async def receive(self) -> list[bytes]:
        """What has come since the last call; waits until something has.

        Raises:
            trio.EndOfChannel: nothing more will come.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if found := self._take():
                return found
            if self._closed():
                raise trio.EndOfChannel
            await self._ring.wait()

    def _take(self) -> list[bytes]:
        found = list(self._direct)
        self._direct.clear()
        kept = None if self._begins_with_snapshot else self._ring.since(self.number)
        found += [self._snapshot()] if kept is None else kept
        self._begins_with_snapshot = False
        self.number = self._ring.next_number
        self._ring.drop_old()
        return found
