"""A memory's index, as a block's tools use it: which notes have a word, a name or a link, without reading each note.

The host makes it in parts: a large segment of all notes and smaller ones of notes that changed later. Each part
lists the notes of earlier parts that are out of date. The host also passes the list of notes that have changed since.
Notes that the block itself changes are added to that list (:meth:`Index.changed`). Those notes are read whenever they
matter, so an answer is the same as a scan of every note would give. If it is not known what has changed
(:meth:`Index.lose`), or the host has no index, the tools read every note.

Its bytes are read on first use: a block that does not search pays nothing for them.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from ._disk import Disk
from ._paths import is_hidden
from ._segment import DamagedError, Segment, pack_notes
from ._table import as_set
from ._text import comparable, most_alike
from .links import Names

READ_BYTES = 1024 * 1024
"""How much of each note is searched."""

_NUMBER, _HEAD = Struct("=I"), Struct("=II")  # of a part: its checksum, and how many parts are before it


class Part(NamedTuple):
    """A segment, and which of its notes are up to date."""

    segment: Segment
    live: int


class Index:
    """The index of one memory, if there is one.

    Attributes:
        scanned: the most notes that a tool had to read because there was no index or no newer one.
    """

    def __init__(self) -> None:
        self.scanned: int = 0
        self._changed: dict[str, None] = {}
        self._data: memoryview | None = None
        self._places: Sequence[Sequence[int]] = ()
        self._parts: list[tuple[list[int], Segment]] | None = None

    @property
    def usable(self) -> bool:
        return self._data is not None

    def attach(self, data: memoryview, places: Sequence[Sequence[int]], changed: Iterable[str]) -> None:
        """Start using the host's index.

        Args:
            data: all parts.
            places: the start and size of each part in it.
            changed: the notes that have changed since.
        """
        self._data, self._places = data, places
        self._changed = dict.fromkeys(changed)

    def changed(self, path: str) -> None:
        """The block changes, makes or removes a note, or is about to."""
        if self._data is not None:
            self._changed[path] = None

    def looked_at(self, notes: int) -> None:
        """A tool had to read so many notes one by one."""
        self.scanned = max(self.scanned, notes)

    def lose(self) -> None:
        """The block changes something unknown, so the index can no longer be used."""
        self._data, self._parts = None, None

    def parts(self, disk: Disk, *, contents: bool) -> list[Part]:
        """All notes as they are now, each live in one part.

        Args:
            contents: words and links will be looked up, not only names.
        """
        known = self._known()
        live = [segment.everything for _, segment in known]
        for outdated, _ in known:
            for at, members in enumerate(outdated):
                live[at] &= ~members
        for at, (_, segment) in enumerate(known):
            live[at] &= ~as_set(_numbers(segment, self._changed), segment.count)
        found = [Part(segment, members) for (_, segment), members in zip(known, live, strict=True) if members]
        present = [path for path in self._changed if not is_hidden(path) and disk.kind(path) == "file"]
        self.looked_at(len(present))
        if present:
            read = dict(disk.contents(present, READ_BYTES)) if contents else {}
            fresh = Segment(memoryview(pack_notes((path, read.get(path)) for path in present)))
            found.append(Part(fresh, fresh.everything))
        return found

    def other_forms(self, disk: Disk, path: str) -> list[str]:
        """The paths of notes and their folders that are not *path*, but equal it under NFC."""
        parts = self.parts(disk, contents=False)
        return [each for segment, live in parts for each in segment.other_forms(path, live)]

    def renewed(self, disk: Disk, keep: int) -> tuple[bytes, int]:
        """A new part, for the host, in place of all but the first *keep*: their notes, and those that have changed.

        Returns:
            Its bytes, and how many notes it has.
        """
        known = self._known() if keep else []
        outdated = [as_set(_numbers(segment, self._changed), segment.count) for _, segment in known[:keep]]
        for already, _ in known[keep:]:
            for at, members in enumerate(already[:keep]):
                outdated[at] |= members
        if keep:
            parts = self.parts(disk, contents=False)
            kept = {id(segment) for _, segment in known[:keep]}
            paths = [path for part in parts if id(part.segment) not in kept for path in part.segment.paths(part.live)]
        else:
            paths = disk.files()
        read = dict(disk.contents(paths, READ_BYTES))
        sets = [
            members.to_bytes((segment.count + 7) // 8, "little")
            for members, (_, segment) in zip(outdated, known, strict=False)
        ]
        head = b"".join((*map(_NUMBER.pack, (len(sets), *map(len, sets))), *sets))
        notes = pack_notes((path, read.get(path)) for path in paths)
        return b"".join((_NUMBER.pack(crc32(head)), head, notes)), len(paths)

    def _known(self) -> list[tuple[list[int], Segment]]:
        if self._parts is None:
            assert self._data is not None
            self._parts = [_read_part(self._data[begin : begin + size]) for begin, size in self._places]
        return self._parts


def _read_part(data: memoryview) -> tuple[list[int], Segment]:
    """A part's list of outdated notes in earlier parts, and its own segment.

    Raises:
        DamagedError, struct.error: it is not a part.
    """
    checksum, count = _HEAD.unpack_from(data)
    start, at = _NUMBER.size, _HEAD.size + _NUMBER.size * count
    outdated = []
    for (size,) in _NUMBER.iter_unpack(data[_HEAD.size : at]):
        outdated.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    if crc32(data[start:at]) != checksum:
        raise DamagedError("what is outdated in the parts before a part")
    return outdated, Segment(data[at:])


def check_part(data: memoryview) -> None:
    """Check the bytes of a part before blocks get them.

    Raises:
        DamagedError, struct.error: they were not made by :meth:`Index.renewed`, or are damaged.
    """
    _read_part(data)[1].check()


def _numbers(segment: Segment, paths: Iterable[str]) -> Iterator[int]:
    return (number for number in map(segment.number, paths) if number is not None)


class IndexedNames(Names):
    """The notes by name, from an index."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(live.bit_count() for _, live in self._parts)

    def __contains__(self, path: str) -> bool:
        numbers = ((segment.number(path), live) for segment, live in self._parts)
        return any(number is not None and live >> number & 1 for number, live in numbers)

    def named(self, key: str) -> list[str]:
        return [path for part in self._parts for path in part.segment.paths(part.segment.names.find(key) & part.live)]

    def same_stem(self, squashed: str) -> list[str]:
        return [path for seg, live in self._parts for path in seg.paths(seg.stems.find(squashed) & live)]

    def similar(self, name: str, limit: int, *, whole: bool = False) -> list[str]:
        target = comparable(name)
        alike = (segment.alike(target, live, whole=whole) for segment, live in self._parts)
        return most_alike(target, (each for found in alike for each in found), limit)
