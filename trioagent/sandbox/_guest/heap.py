"""Fills the gaps in the zygote's heap before the first fork, so that a child's allocations share a few pages.

A child pays for each page that it is the first to write to (copy-on-write). Allocators first use the gaps between older
objects, wherever they are, and write to the page of the gap and to that of its pool's header. So the gaps are filled
permanently: then new objects of each size begin on a page that holds nothing else.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any

_POOL, _POOL_HEADER = 16 * 1024, 48  # CPython's small objects: where an empty pool gives its first
_SMALL, _STEP = 512, 16  # bytes; the size classes of pools
_CLOSE = 2048  # up to this size the C library keeps freed pieces by their exact size
_LARGE = 64 * 1024
_MOST_BYTES = 8 * 1024 * 1024  # of filling; the gaps take some hundred kilobytes

_EMPTY_BYTES = sys.getsizeof(b"")


def fill_gaps() -> list[bytes]:
    """Fill the gaps in this process's heap; they stay filled for as long as the list is kept.

    It stops if the allocators work differently than assumed here, since it would not terminate otherwise.
    """
    filling: list[bytes] = []
    return filling if _fill_heap(filling) and _fill_pools(filling) else []


def _fill_pools(filling: list[bytes]) -> bool:
    for size in range(_SMALL, _EMPTY_BYTES, -_STEP):
        for _ in range(_MOST_BYTES // size):
            piece = bytes(size - _EMPTY_BYTES)
            if id(piece) % _POOL == _POOL_HEADER:
                break  # the first of a pool that was empty, and is again when this is dropped
            filling.append(piece)
        else:
            return False
    return True


def _fill_heap(filling: list[bytes]) -> bool:
    """The same for the C library's heap, which has the larger objects: until each size is taken from its end."""
    end = id(bytes(_LARGE))
    size = _LARGE // 2
    while size > _SMALL:
        for _ in range(_MOST_BYTES // size):
            piece = bytes(size - _EMPTY_BYTES)
            if id(piece) >= end:
                break
            filling.append(piece)
        else:
            return False
        size = size - _STEP if size <= _CLOSE else max(_CLOSE, size // 2)
    return True


def gather_code(work: Callable[[], object]) -> None:
    """Put the code of all functions that *work* runs, and its constants, close together in memory.

    Calling a function increments the reference count of its code, and using a constant that of the constant.
    """
    ran: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            ran.setdefault(id(frame.f_code), frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    copies: dict[int, CodeType] = {}
    for number, code in reversed(ran.items()):  # what is defined in a function runs after it
        copies[number] = code.replace(co_consts=_copied(code.co_consts, copies))
    for function in gc.get_objects():
        if type(function) is FunctionType and (copy := copies.get(id(function.__code__))) is not None:
            function.__code__ = copy


def _copied(constant: Any, copies: Mapping[int, CodeType]) -> Any:
    if type(constant) is tuple:
        return tuple([_copied(each, copies) for each in constant])
    if type(constant) is str and len(constant) > 1:
        return "".join((constant[:1], constant[1:]))
    return copies.get(id(constant), constant) if type(constant) is CodeType else constant
