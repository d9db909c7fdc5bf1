"""A segment of an index: paths, words, names and links of some notes, each as a table of sets of notes.

A note's number is the position of its path among the sorted paths. A segment never changes; a note that has changed
since is left out of queries, and is in a later segment (see :mod:`._index`).
"""

from __future__ import annotations

from array import array
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from struct import Struct
from sys import byteorder

from ._names import is_text, nfc
from ._table import Table, numbers_in, pack
from ._text import (
    ROUGHLY,
    NoteText,
    comparable,
    fold,
    fold_bytes,
    pairs_asked,
    roughly,
    squash,
    words_of,
)
from .links import link_keys, name_key, parse_links, stem

_TABLES = (
    "paths",  # path: itself
    "readable",  # "": the notes whose content could be read
    "words",  # word of the content: notes
    "path_words",  # word of the path: notes
    "names",  # name_key of the file's name: notes
    "links",  # link_keys of a link's target: the notes that have such a link
    "stems",  # squashed name without .md: notes
    "stem_pairs",  # neighbouring letters, or one letter, of the name as it is compared: notes
    "stem_sizes",  # its length: notes
    "whole_pairs",  # the same two for the whole path
    "whole_sizes",
    "forms",  # NFC of a path or a folder's path, "//", that path, if the two differ: notes
)
_HEAD = Struct(f"={2 * len(_TABLES) + 2}I")  # start of each table and end of the last, their checksums, and its own


class DamagedError(ValueError):
    """The bytes are damaged."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} of an index was damaged: its checksum differs"


def pack_notes(notes: Iterable[tuple[str, bytes | None]]) -> bytes:
    """The bytes of a segment.

    Args:
        notes: path and content; None if the content could not be read, or will not be looked up.
    """
    contents = dict(notes)
    entries: list[dict[str, array[int]]] = [{} for _ in _TABLES]
    paths, readable, words, path_words, names, links, stems, stem_pairs, stem_sizes, whole_pairs, whole_sizes, forms = (
        entries
    )
    for number, path in enumerate(sorted(contents)):
        name = path[path.rfind("/") + 1 :]
        _book(paths, [path], number)
        _book(path_words, set(words_of(fold(path))), number)
        _book(names, [name_key(name)], number)
        _book(stems, [squash(stem(path))], number)
        if not path.isascii() and nfc(path) != path:
            _book(forms, _other_forms(path), number)
        _book_likeness(stem_pairs, stem_sizes, stem(path), number)
        _book_likeness(whole_pairs, whole_sizes, path.removesuffix(".md"), number)
        data = contents[path]
        if data is not None and not is_text(path, data):
            data = b""  # found only by its name
        if data is not None:
            _book(readable, [""], number)
            _book(words, set(words_of(fold_bytes(data))), number)
            if b"[[" in data or b"](" in data:
                found = parse_links(NoteText(data).shown)
                _book(links, {key for link in found for key in link_keys(link.target)}, number)
    packed = [pack(table, len(contents)) for table in entries]
    starts = [_HEAD.size]
    for table in packed:
        starts.append(starts[-1] + len(table))
    head = _HEAD.pack(*starts, *map(crc32, packed), 0)
    return b"".join((head[:-4], crc32(head).to_bytes(4, byteorder), *packed))


def _book(table: dict[str, array[int]], keys: Iterable[str], number: int) -> None:
    for key in keys:
        try:
            table[key].append(number)
        except KeyError:
            table[key] = array("I", [number])


def _other_forms(path: str) -> Iterator[str]:
    """The keys of a path and its folders among the forms."""
    parts = path.split("/")
    for size in range(1, len(parts) + 1):
        part = "/".join(parts[:size])
        if nfc(part) != part:
            yield f"{nfc(part)}//{part}"


def _book_likeness(pairs: dict[str, array[int]], sizes: dict[str, array[int]], name: str, number: int) -> None:
    compared = comparable(name)
    _book(pairs, {*pairs_asked(compared), *compared}, number)
    _book(sizes, [str(len(compared))], number)


class Segment:
    """Looks things up in a segment's bytes.

    Each table is checked on first use, so a block pays only for those that it uses.

    Raises:
        DamagedError: from every method, and from the constructor if it is the head.
    """

    def __init__(self, data: memoryview) -> None:
        head = _HEAD.unpack_from(data)
        if crc32(bytes(4), crc32(data[: _HEAD.size - 4])) != head[-1]:
            raise DamagedError("the head")
        if len(data) != head[len(_TABLES)]:
            raise DamagedError("the end")
        self._data, self._places = data, list(pairwise(head[: len(_TABLES) + 1]))
        self._checksums = head[len(_TABLES) + 1 : -1]
        self._tables: dict[str, Table] = {}
        self.count = self._table("paths").count
        self.everything = (1 << self.count) - 1

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            number = _TABLES.index(name)
            begin, end = self._places[number]
            data = self._data[begin:end]
            if crc32(data) != self._checksums[number]:
                raise DamagedError(f"the table {name!r}")
            table = self._tables[name] = Table(data)
        return table

    def check(self) -> None:
        """Check all tables."""
        for name in _TABLES:
            self._table(name)

    @property
    def readable(self) -> int:
        """The notes whose content could be read."""
        return self._table("readable").find("")

    @property
    def words(self) -> Table:
        return self._table("words")

    @property
    def path_words(self) -> Table:
        return self._table("path_words")

    @property
    def names(self) -> Table:
        return self._table("names")

    @property
    def links(self) -> Table:
        return self._table("links")

    @property
    def stems(self) -> Table:
        return self._table("stems")

    def path(self, number: int) -> str:
        return self._table("paths").key(number)

    def paths(self, members: int) -> Iterator[str]:
        """The paths of a set of notes, in order."""
        return map(self._table("paths").key, numbers_in(members))

    def number(self, path: str) -> int | None:
        return self._table("paths").place(path)

    def other_forms(self, path: str, among: int) -> Iterator[str]:
        """The paths of a set of notes, or of their folders, that equal *path* under NFC but are not it."""
        start = f"{path}//"
        for key, members in self._table("forms").entries_beginning(start):
            if members & among:
                yield key[len(start) :]

    def alike(self, target: str, among: int, *, whole: bool) -> list[tuple[float, str, str]]:
        """The notes of a set whose names, or whole paths, are most like *target*, for :func:`.most_alike`."""
        if not target:
            return []
        kind = "whole" if whole else "stem"
        pairs, sizes = self._table(f"{kind}_pairs"), self._table(f"{kind}_sizes")
        shared = _counted(pairs.find(pair) & among for pair in pairs_asked(target))
        by_size = [(int(key), sizes.members(at)) for at, key in enumerate(sizes.keys())]
        classes = sorted(
            ((roughly(number, target, size), number, size) for number in shared for size, _ in by_size),
        )
        members = dict(by_size)
        read: Callable[[str], str] = (lambda path: path.removesuffix(".md")) if whole else stem
        found: list[tuple[float, str, str]] = []
        last = 0.0
        for likeness, number, size in classes:
            if len(found) >= ROUGHLY and likeness > last:
                break
            last = likeness
            for path in islice(self.paths(shared[number] & members[size]), ROUGHLY):
                found.append((likeness, path, comparable(read(path))))
        return found


def _counted(sets: Iterable[int]) -> dict[int, int]:
    """For each number above 0, the members of exactly so many of the sets: added bit by bit, all members at once."""
    sums: list[int] = []  # the sums' binary digits, lowest first, each as the set of members that have it
    for carry in sets:
        for place, digit in enumerate(sums):
            sums[place], carry = digit ^ carry, digit & carry
        if carry:
            sums.append(carry)
    found = {0: -1}
    for place in reversed(range(len(sums))):
        found = {
            number * 2 + bit: rest
            for number, members in found.items()
            for bit in (0, 1)
            if (rest := members & sums[place] if bit else members & ~sums[place])
        }
    found.pop(0, None)
    return found
