"""Errors of tools: texts that tell a model what to do next, never exceptions."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
E = TypeVar("E", bound="ToolError | NoResults")


class ToolError(str):
    """The text of a failed tool call. It is false, so ``if create_file(...)`` and reading the text both work.

    Appending to it gives a ToolError again, so that ``create_file(path, read_file(path) + "...")`` can be refused
    instead of saving an error text as a note.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        """Also equal to False, which tools of memory-agent models' training returned on failure."""
        return other is False or str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __add__(self, other: str) -> ToolError:
        return ToolError(str.__add__(self, other))


class PathList(list[str]):
    """Paths of notes, as a list that also behaves as a text: the tree that other versions of ``list_files`` return.

    Memory-agent models were trained on either: ``for path in files`` and ``files.split("\\n")`` both work. Operations
    that both a list and a text have (``len``, ``[...]``, ``count``, ``index``) are the list's.
    """

    __slots__ = ()

    @property
    def text(self) -> str:
        """The tree."""
        return tree(self)

    def __contains__(self, item: object) -> bool:
        """Whether a path is in the list, or is the end of one of its paths; whether any other text is in the tree."""
        if list.__contains__(self, item):
            return True
        if not isinstance(item, str) or not item:
            return False
        if item.endswith(".md"):  # "new.md" must not match "renew.md"
            return any(path.endswith(f"/{item}") for path in self)
        return item in self.text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(str, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.text, name)

    def __add__(self, other: Any) -> Any:
        return self.text + other if isinstance(other, str) else list(self) + other

    def __radd__(self, other: str) -> str:
        return other + self.text


def tree(paths: Iterable[str]) -> str:
    """Sorted *paths* as a drawing of their folders, which begins with ``./``."""
    inside: dict[str, Any] = {}
    for path in paths:
        folder = inside
        for name in path.split("/"):
            folder = folder.setdefault(name, {})
    lines, waiting = ["./"], [("", iter(sorted(inside.items())), len(inside))]
    while waiting:
        margin, entries, left = waiting.pop()
        for name, below in entries:
            left -= 1
            lines.append(f"{margin}{'├' if left else '└'}── {name}{'/' if below else ''}")
            if below:
                waiting.append((margin, entries, left))
                waiting.append((f"{margin}{'│   ' if left else '    '}", iter(sorted(below.items())), len(below)))
                break
    return "\n".join(lines)


class NoResults(PathList):
    """An empty list with an error: the result of a failed tool that returns a list.

    Loops over it do nothing, and its ``repr`` (which a model is shown) ends with the text in ``error``, which is also
    its value as a text.
    """

    __slots__ = ("error",)

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error: ToolError = ToolError(error)

    @property
    def text(self) -> str:
        return self.error

    def __contains__(self, item: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"[]  # {self.error}"


class Refused(Exception):
    """Internal: a tool cannot continue; ``str()`` is the text for the model, without the leading ``Error:``."""


class Quiet:
    """Counts how many tools are running; while ``depth`` is above 0, files are opened by tools, not by the block.

    Tools record the notes that they show themselves, so the audit hook that records a block's own reads skips these.
    """

    __slots__ = ("depth",)

    def __init__(self) -> None:
        self.depth: int = 0


quiet: Quiet = Quiet()

_ADVICE = {
    errno.ENOSPC: "the space for this block's changes is used up; write less in one block, or shorter notes",
    errno.EFBIG: "it would be too large, a note may hold 1 MB; split it into several notes that link to each other",
    errno.EMFILE: "too many files are open; close the ones your code opened (with open(...) as f: ...)",
    errno.ENAMETOOLONG: "the name is too long, 255 bytes at most; choose a shorter one",
    errno.EACCES: "it may not be read or changed (permission denied); use another note",
    errno.EPERM: "that is not allowed here; use another note",
    errno.EROFS: "the memory can only be read, not changed",
    errno.ELOOP: "it is a symbolic link, and those are not followed; use the real path of the note",
}
_ADVICE[errno.EDQUOT] = _ADVICE[errno.ENOSPC]
_ADVICE[errno.ENFILE] = _ADVICE[errno.EMFILE]


def explain(error: OSError) -> str:
    """The operating system's refusal as text that says what to do."""
    number = error.errno or 0
    name = f"{error.filename}: " if isinstance(error.filename, str) and error.filename else ""
    return name + (_ADVICE.get(number) or f"the file system refused ({os.strerror(number) if number else error})")


_BROKEN = (ArithmeticError, AssertionError, LookupError, MemoryError, TypeError, ValueError, struct.error)


def tool(failure: Callable[[str], E]) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R | E]]:
    """Make a method a tool: quiet while it runs, and *failure* of the text instead of an exception."""

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R | E]:
        @wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R | E:
            quiet.depth += 1  # not by a with statement: in a sandbox each function that runs costs a page or two
            try:
                return method(self, *args, **kwargs)
            except Refused as refusal:
                problem = str(refusal)
            except OSError as error:
                problem = explain(error)
            except _BROKEN:
                # The index is damaged: the block works without it, and its tools read every note.
                index = getattr(self, "_index", None)
                if index is None or not index.usable:
                    raise
                index.lose()
                return call(self, *args, **kwargs)
            finally:
                quiet.depth -= 1
            return failure(f"Error: {problem}")

        return call

    return decorate
