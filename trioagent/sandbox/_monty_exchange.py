"""The host's talk with a keeper about one block: as with a child of the kernel tier, then what the block changed.

What a keeper says is hostile, as a child's words are: a block may have taken it over.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, NoReturn

import trio

from .._config import SandboxLimits
from ..memory._changes import ChangeSet
from ..memory._paths import is_inside
from . import _frames
from ._block_session import Conversation
from ._guest.run_block import MAX_PATH

_INDEX_BYTES = 16 * 1024 * 1024


class Exchange(Conversation):
    """One block with one keeper.

    Attributes:
        replied: the keeper has given its answer, so `finish` may be called.
    """

    replied = False

    async def order(self, root_fd: int | None) -> bool:
        """Hand the keeper the memory's folder; False if the pair died while it was idle, and no code was sent."""
        try:
            self._hand_over(root_fd)
            await trio.lowlevel.wait_readable(self._channel)
            return self._channel.recv(1) == b"R"
        except OSError:
            return False

    def _hand_over(self, root_fd: int | None) -> None:
        if root_fd is None:
            self._channel.send(b"B", socket.MSG_NOSIGNAL)
            return
        # Opened anew: a copy of the descriptor would hold the memory's lock as long as the keeper keeps it.
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        try:
            socket.send_fds(self._channel, [b"B"], [folder], socket.MSG_NOSIGNAL)
        finally:
            os.close(folder)

    async def _receive(self) -> _frames.Reply | _frames.Call:
        frame = await super()._receive()
        self.replied = isinstance(frame, _frames.Reply)
        return frame

    async def finish(self) -> tuple[ChangeSet, bool]:
        """After the reply: the changes, and whether the pair can go on to another block.

        Raises:
            FrameError: it is not what an honest keeper sends.
        """
        await self._fill(_frames.HEADER)
        size = _frames.frame_size(bytes(self._received[: _frames.HEADER]), _INDEX_BYTES)
        index = _decode(await self._take(_frames.HEADER + size), self._limits)
        writes = {path: await self._take(length) for path, length in index["writes"]}
        changes = ChangeSet(
            writes=writes,
            deletes=frozenset(index["deletes"]),
            made_dirs=frozenset(index["made_dirs"]),
            removed_dirs=frozenset(index["removed_dirs"]),
        )
        if self._received:
            _refuse("more than was announced")
        return changes, index["alive"]

    async def _take(self, size: int) -> bytes:
        await self._fill(size)
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


def _decode(frame: bytes, limits: SandboxLimits) -> dict[str, Any]:
    """The index of changes, checked: all paths inside the memory, all sizes within the limits."""
    try:
        data = json.loads(frame[_frames.HEADER :])
    except (ValueError, RecursionError, MemoryError) as error:
        raise _frames.FrameError(f"not a frame: {type(error).__name__}") from None
    match data:
        case {"alive": bool() as alive, "changes": dict() as changes} if len(data) == 2:
            pass
        case _:
            _refuse("no index of changes")
    if changes and changes.keys() != {"writes", "deletes", "made_dirs", "removed_dirs"}:
        _refuse("other kinds of changes than there are")
    writes: list[tuple[str, int]] = []
    left = limits.view_bytes
    for item in _list(changes, "writes"):
        match item:
            case [str() as path, int() as size] if type(size) is int and 0 <= size <= min(left, limits.file_bytes):
                writes.append((_inside(path), size))
                left -= size
            case _:
                _refuse("a write that breaks the limits")
    if len(writes) > limits.view_files or len({path for path, _ in writes}) != len(writes):
        _refuse("too many writes, or one twice")
    rest = {kind: [_inside(path) for path in _list(changes, kind)] for kind in ("deletes", "made_dirs", "removed_dirs")}
    return {"alive": alive, "writes": writes, **rest}


def _list(changes: dict[str, Any], kind: str) -> list[Any]:
    value = changes.get(kind, [])
    return value if type(value) is list else _refuse(f"{kind} is no list")


def _inside(path: object) -> str:
    if type(path) is not str or len(path) > MAX_PATH or not is_inside(path):
        _refuse("a path outside of the memory")
    return path


def _refuse(what: str) -> NoReturn:
    raise _frames.FrameError(f"not a frame: {what}")
