"""A block's variables and errors as bounded text.

Every object here may be hostile: its ``repr`` may raise, never return (the time limits end it), return a str subclass
with methods of its own, or claim another class. So types are read with ``type()``, and each value is guarded
separately.
"""

from __future__ import annotations

import functools
import itertools
import re
import traceback
import types
from collections.abc import Container, Mapping
from typing import Any

from .limits import ERROR_CHARS, NAME_CHARS

BLOCK = "<block>"  # the file name that a block's code is compiled with
_OWN_ROOT = __name__.partition(".")[0]

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_TOOLING = (
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools._lru_cache_wrapper,
    type,
)


def local_values(
    namespace: Mapping[Any, object], hidden: Container[int], value_chars: int, all_chars: int
) -> dict[str, str]:
    """The block's variables as text.

    Left out: names that start with two underscores, modules, functions, classes, objects of ``typing`` and
    ``__future__``, and objects whose id is in *hidden* (the tools).
    """
    values: dict[str, str] = {}
    left = all_chars
    for name, value in list(namespace.items()):
        if type(name) is not str or name == "_" or name.startswith("__") or id(value) in hidden or _is_tooling(value):
            continue
        if left <= 0:
            values["..."] = "more variables than fit here"
            break
        name = clean(name[:NAME_CHARS])
        text = bounded_repr(value, min(value_chars, left))
        values[name] = text
        left -= len(name) + len(text)
    return values


def _is_tooling(value: object) -> bool:
    kind = type(value)
    try:
        return issubclass(kind, _TOOLING) or kind.__module__ in ("typing", "__future__")
    except BaseException:  # noqa: BLE001  # a hostile metaclass
        return False


def bounded_repr(value: object, limit: int) -> str:
    """``repr(value)`` of at most *limit* characters, plus a note of its true length, and without memory addresses.

    Long plain strings, bytes and collections are cut before their repr is made: 200 MB of text need no second 200 MB.
    """
    try:
        kind = type(value)
        if kind in (str, bytes, bytearray) and len(value) > limit:  # type: ignore[arg-type]
            shown = limit
            while (over := len(repr(value[:shown])) - 1 - limit) > 0:  # type: ignore[index]
                shown -= (over + 1) // 2  # escapes take several characters each
            start = clean(repr(value[:shown])[:-1])  # type: ignore[index]
            return start + cut_note(len(value), "characters" if kind is str else "bytes", shown)  # type: ignore[arg-type]
        if kind in (list, tuple, set, frozenset, dict) and len(value) > limit:  # type: ignore[arg-type]
            return _cut_collection(value, limit)
        text = repr(value)
        if type(text) is not str:
            text = str.__str__(text)
        length = len(text)
        if length > limit:
            text = text[:limit] + cut_note(length, "characters")
        return clean(ADDRESS.sub("", text))
    except MemoryError:
        return f"<{_kind(value)}: too large to show>"
    except BaseException as error:  # noqa: BLE001  # whatever a block's own __repr__ raises
        return f"<{_kind(value)}: its repr raised {_kind(error)}>"


def cut_note(length: int, unit: str, shown: int | None = None) -> str:
    """The note at the end of a value that was cut: its length, and how to see more.

    Args:
        shown: the length of the part that is shown, if the rest can be read by a slice.
    """
    part = " of it" if shown is None else f" such as [{shown}:{2 * shown}]"
    return f"… ({length} {unit} in all; for more, assign a part{part})"


def _cut_collection(value: Any, limit: int) -> str:
    items = value.items() if type(value) is dict else value
    some = type(value)(itertools.islice(items, limit))
    return clean(ADDRESS.sub("", repr(some)[:limit])) + cut_note(len(value), "items")


def _kind(value: object) -> str:
    name = type.__dict__["__name__"].__get__(type(value))
    return name if type(name) is str else "object"


def clean(text: str) -> str:
    """*text* with lone surrogates escaped, so that it is valid UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def error_text(error: BaseException, source: str) -> str:
    """One line for the model: the error, and the line of its code."""
    try:
        text = _describe(error, source)
    except BaseException as second:  # noqa: BLE001  # a hostile __str__
        text = f"{_kind(error)} (its text could not be read: {_kind(second)})"
    text = clean(ADDRESS.sub("", text))
    return text if len(text) <= ERROR_CHARS else f"{text[:ERROR_CHARS]}… ({len(text)} characters in all)"


def _describe(error: BaseException, source: str) -> str:
    if isinstance(error, SyntaxError) and error.filename == BLOCK:
        return f"{_kind(error)}: {error.msg}{place(error.lineno, source)}"
    text = "".join(traceback.format_exception_only(error)).strip()
    module = type.__dict__["__module__"].__get__(type(error))
    if type(module) is str and module.partition(".")[0] == _OWN_ROOT:
        text = text.removeprefix(f"{module}.")  # the module of our own exceptions does not help a model
    line = None
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == BLOCK:
            line = frame.tb_lineno
        frame = frame.tb_next
    return text + place(line, source)


def place(line: int | None, source: str) -> str:
    if line is None:
        return ""
    lines = source.splitlines()
    code = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return f" (line {line}: {code[:200]})" if code else f" (line {line})"
