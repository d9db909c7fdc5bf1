"""Sets of numbered notes by key, as bytes that are searched directly, without being parsed first.

A table is keys in order, each with a set of numbers below *count*. Such a set is a Python integer with one bit for each
note, so that "and", "or" and counting cost microseconds for 10,000 notes. In the bytes it is that integer, or a list of
numbers if this is shorter::

    keys, count                 two numbers
    where each key begins       keys + 1 numbers
    where each set begins       keys + 1 numbers
    the keys                    each followed by a NUL, which no key has in it
    the sets

Numbers have 32 bits in the machine's own order: a table never leaves the machine that it was made on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct

_HEAD = Struct("=II")
_NUMBER = 4
assert array("I").itemsize == _NUMBER


def encode_key(text: str) -> bytes:
    """Encode a path or word. The order of the bytes is that of the texts."""
    return text.encode("utf-8", "surrogatepass")


def pack(entries: Mapping[str, Sequence[int]], count: int) -> bytes:
    """The bytes of a table.

    Args:
        entries: for each key, without NUL, its numbers, ascending.
    """
    width = (count + 7) // 8
    keys, sets = bytearray(), bytearray()
    key_starts, set_starts = array("I", [0]), array("I", [0])
    for key, numbers in sorted((encode_key(key), numbers) for key, numbers in entries.items()):
        keys += key + b"\0"
        key_starts.append(len(keys))
        listed = len(numbers) * _NUMBER < width
        sets += array("I", numbers).tobytes() if listed else _bits(numbers, width)
        set_starts.append(len(sets))
    head = _HEAD.pack(len(key_starts) - 1, count)
    return b"".join((head, key_starts.tobytes(), set_starts.tobytes(), keys, sets))


def numbers_in(members: int) -> Iterator[int]:
    """The numbers in a set, ascending; the first ones of a large set cost little."""
    base = 0
    while members:
        part = members & 0xFFFFFFFFFFFFFFFF  # small integers are faster to process than one large one
        while part:
            lowest = part & -part
            yield base + lowest.bit_length() - 1
            part ^= lowest
        members >>= 64
        base += 64


def as_set(numbers: Iterable[int], count: int) -> int:
    """The set of *numbers*, all below *count*."""
    return int.from_bytes(_bits(numbers, (count + 7) // 8), "little")


def _bits(numbers: Iterable[int], width: int) -> bytearray:
    bits = bytearray(width)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bits


class Table:
    """Looks things up in a table's bytes."""

    def __init__(self, data: memoryview) -> None:
        size, self.count = _HEAD.unpack_from(data)
        self._width = (self.count + 7) // 8
        starts, sets = _HEAD.size, _HEAD.size + (size + 1) * _NUMBER
        keys = sets + (size + 1) * _NUMBER
        self._key_starts = data[starts:sets].cast("I")
        self._set_starts = data[sets:keys].cast("I")
        self._keys = data[keys : keys + self._key_starts[-1]]
        self._sets = data[keys + self._key_starts[-1] :]
        self._all_keys: bytes | None = None

    def __len__(self) -> int:
        return len(self._key_starts) - 1

    def key(self, at: int) -> str:
        return self._bytes(at).decode("utf-8", "surrogatepass")

    def keys(self) -> Iterator[str]:
        return map(self.key, range(len(self)))

    def place(self, key: str) -> int | None:
        """The position of a key among the others, or None."""
        wanted = encode_key(key)
        at = bisect_left(range(len(self)), wanted, key=self._bytes)
        return at if at < len(self) and self._bytes(at) == wanted else None

    def find(self, key: str) -> int:
        """The set of a key, empty if there is no such key."""
        at = self.place(key)
        return 0 if at is None else self.members(at)

    def members(self, at: int) -> int:
        """The set of the key at a place."""
        data = self._data(at)
        if len(data) == self._width:
            return int.from_bytes(data, "little")
        return as_set(data.cast("I"), self.count)

    def beginning(self, prefix: str) -> int:
        """The numbers in the sets of all keys that begin with *prefix*."""
        return self._together(self._places(prefix))

    def entries_beginning(self, prefix: str) -> Iterator[tuple[str, int]]:
        """All keys that begin with *prefix*, each with its set."""
        return ((self.key(at), self.members(at)) for at in self._places(prefix))

    def _places(self, prefix: str) -> range:
        wanted = encode_key(prefix)
        first = bisect_left(range(len(self)), wanted, key=self._bytes)
        last = bisect_right(range(len(self)), wanted, lo=first, key=lambda at: self._bytes(at)[: len(wanted)])
        return range(first, last)

    def containing(self, part: str) -> int:
        """The numbers in the sets of all keys that contain *part*, which is not empty."""
        if self._all_keys is None:
            self._all_keys = bytes(self._keys)  # a memoryview has no find
        keys, starts, wanted = self._all_keys, self._key_starts, encode_key(part)
        places = []
        found = keys.find(wanted)
        while found >= 0:
            places.append(bisect_right(starts, found) - 1)
            found = keys.find(wanted, starts[places[-1] + 1])
        return self._together(places)

    def _together(self, places: Iterable[int]) -> int:
        together, listed = 0, array("I")
        for at in places:
            data = self._data(at)
            if len(data) == self._width:
                together |= int.from_bytes(data, "little")
            else:
                listed.frombytes(data)
        return together | as_set(listed, self.count) if listed else together

    def _bytes(self, at: int) -> bytes:
        return bytes(self._keys[self._key_starts[at] : self._key_starts[at + 1] - 1])

    def _data(self, at: int) -> memoryview:
        return self._sets[self._set_starts[at] : self._set_starts[at + 1]]
