"""What a process remembers of journals that it has appended to, so that the next commit need not read them."""

from __future__ import annotations

import threading
from collections import OrderedDict

import attrs

from ...tools import Version

_MAX_TIPS, _MAX_VERSIONS = 1000, 20_000


@attrs.define
class JournalTip:
    """What this process knows of a journal since it appended to it last.

    Attributes:
        stamp: the file's inode, size and time of change then.
        sequence: of the last row.
        versions: path to the version of the notes in rows since the store was filled.
    """

    stamp: tuple[int, int, int]
    sequence: int
    versions: dict[str, Version | None] = attrs.field(factory=dict)


@attrs.define(eq=False)
class JournalTips:
    """The tips of the journals used last, by the path of their memory."""

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
