"""The latest messages of a session, numbered, and the cursors of its readers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

_LAG = 16  # the limit for messages that connected readers have not read yet is so many times the limit for the rest


class EventRing:
    """Numbered messages, of which the latest are kept.

    Up to *most_bytes* are kept, and the last message in any case. Messages that a reader has not read yet are kept up
    to `_LAG` times as much, since a few long messages may come at once. A reader that is further behind does not slow
    down the others: it loses messages, and gets a snapshot instead.

    Attributes:
        next_number: the number of the next message; the first has number 1.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: deque[bytes] = deque()
        self.next_number = 1
        self._readers: set[Subscription] = set()
        self._news = trio.lowlevel.ParkingLot()

    @property
    def first_number(self) -> int:
        """The number of the earliest message that is kept."""
        return self.next_number - len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """The size of the messages that are kept."""
        return self._bytes

    def append(self, message: Mapping[str, Any]) -> int:
        """Append *message* with the next number, and wake waiting readers; returns its size in bytes."""
        data = json.dumps({"n": self.next_number, **message}, ensure_ascii=False).encode("utf-8", "replace")
        self._kept.append(data)
        self._bytes += len(data)
        self.next_number += 1
        self.drop_old()
        self.wake()
        return len(data)

    def drop_old(self) -> None:
        """Drop messages beyond the limits."""
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
        """Keep messages that *reader* has not read yet, until the block ends."""
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)
            self.drop_old()

    def wake(self) -> None:
        """Wake all waiting readers."""
        self._news.unpark_all()

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        await self._news.park()


class Subscription:
    """One reader's cursor.

    Args:
        ring: the messages.
        number: the number of the first message to read; None: begin with a snapshot.
        snapshot: makes a snapshot, which replaces all messages so far.
        closed: whether no more messages will come.

    Attributes:
        number: the number of the next message to read; a new reader skips the messages before its snapshot.
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
        """How many messages are queued for this reader alone."""
        return len(self._direct)

    def send(self, data: bytes) -> None:
        """Queue a message without a number, for this reader alone."""
        self._direct.append(data)
        self._ring.wake()

    async def receive(self) -> list[bytes]:
        """The messages since the last call; waits for at least one.

        Raises:
            trio.EndOfChannel: no more messages will come.
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
