"""A process's caches between two uses of a history: the ends of journals, and the hashes of notes."""

from __future__ import annotations

import threading
from collections import OrderedDict

import attrs

from ...tools import Version

_MAX_TIPS, _MAX_VERSIONS, _MAX_HASHES = 1000, 20_000, 200_000


@attrs.define
class JournalTip:
    """What this process knows about a journal since it last appended to it.

    Attributes:
        stamp: the file's inode, size and modification time then.
        sequence: of the last row.
        versions: path to the version of the notes in rows since the store was filled.
    """

    stamp: tuple[int, int, int]
    sequence: int
    versions: dict[str, Version | None] = attrs.field(factory=dict)


@attrs.define(eq=False)
class JournalTips:
    """The tips of recently used journals, by the path of their memory."""

    _tips: OrderedDict[str, JournalTip] = attrs.field(factory=OrderedDict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def take(self, path: str) -> JournalTip | None:
        with self._lock:
            return self._tips.pop(path, None)

    def put(self, path: str, tip: JournalTip) -> None:
        if len(tip.versions) > _MAX_VERSIONS:
            tip.versions.clear()
        with self._lock:
            self._tips[path] = tip
            while len(self._tips) > _MAX_TIPS:
                self._tips.popitem(last=False)


NoteStamp = tuple[int, int, int, int]
"""A file's inode, size, modification time and status change time, in ns."""


@attrs.define(eq=False)
class NoteHashes:
    """Git's hashes of recently scanned notes, by the path of their memory; to be used under its lock.

    It only saves reading notes that have not changed: whether a note is a commit's base is decided by what
    that commit has read.

    Attributes:
        settle_ns: a file that changed so shortly before it was read may change again without a new timestamp, and its
            hash is not kept.
    """

    settle_ns: int = 1_000_000_000
    _memories: OrderedDict[str, dict[str, tuple[NoteStamp, str]]] = attrs.field(factory=OrderedDict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def take(self, path: str) -> dict[str, tuple[NoteStamp, str]]:
        with self._lock:
            return self._memories.pop(path, {})

    def put(self, path: str, hashes: dict[str, tuple[NoteStamp, str]]) -> None:
        with self._lock:
            self._memories[path] = hashes
            while sum(map(len, self._memories.values())) > _MAX_HASHES:
                self._memories.popitem(last=False)
