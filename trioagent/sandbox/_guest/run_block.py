"""Run one block's code in a confined child, and answer the host."""

from __future__ import annotations

import _sitebuiltins
import builtins
import gc
import io
import json
import linecache
import os
import sys
from collections.abc import Callable
from typing import Any

from .limits import MAX_PATH_CHARS, MAX_READS
from .values import BLOCK, clean, error_text, local_values
from .wire import Channel


class Printed(io.TextIOBase):
    """Standard output and error: keeps the first *limit* characters and counts the rest."""

    encoding = "utf-8"

    def __init__(self, limit: int) -> None:
        self._parts: list[str] = []
        self._left = limit
        self._dropped = 0

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        kept = text[: self._left]
        if kept:
            self._parts.append(kept)
            self._left -= len(kept)
        self._dropped += len(text) - len(kept)
        return len(text)

    def writable(self) -> bool:
        return True

    def text(self) -> str:
        more = f"… ({self._dropped} more characters)" if self._dropped else ""
        return clean("".join(self._parts)) + more


class Reads:
    """Which notes the block has read, or looked for: what its later changes are judged against.

    Opens are seen through an audit hook, which Python code cannot take off again. What the tools open for their own
    scans (*quiet*) is not what the model has read; they report what they show.
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.quiet: Any = None
        self.root = ""  # where the view is; nothing is booked without one, so nothing of the zygote's own reading

    def note(self, path: str) -> None:
        """Book a *path* relative to the memory."""
        whole = os.path.normpath(path).strip("/")
        if whole and whole != "." and len(self.paths) < MAX_READS:
            self.paths.add(whole)

    def listed(self) -> list[str]:
        """For the reply: text that has a UTF-8 form, and only what may be the path of a note."""
        return [text for path in sorted(self.paths) if len(text := clean(path)) <= MAX_PATH_CHARS]

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self.root or (self.quiet is not None and self.quiet.depth > 0):
            return
        path, _, flags = arguments
        # With O_TRUNC or O_EXCL nothing of an old content can be seen.
        if isinstance(path, str | bytes | os.PathLike) and not flags & (os.O_TRUNC | os.O_EXCL | os.O_DIRECTORY):
            whole = os.path.join(os.getcwd(), os.fsdecode(path))
            if self.root == "/":
                self.note(whole)
            elif (whole := os.path.normpath(whole)).startswith(f"{self.root}/"):
                self.note(whole[len(self.root) :])


class HostToolError(Exception):
    """A tool of the host's failed; the text is its own."""


def host_tool(name: str, channel: Channel) -> Callable[..., object]:
    """A function for the block that asks the host to run its tool *name* and waits for the answer."""

    def tool(*args: object, **kwargs: object) -> object:
        try:
            body = json.dumps({"call": name, "args": args, "kwargs": kwargs}, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"{name}() takes only None, bool, int, float, str, list and dict: {error}") from None
        channel.write_encoded(body.encode("utf-8", "replace"))
        answer = channel.read()
        if "value" in answer:
            return answer["value"]
        kind = TypeError if answer.get("kind") == "TypeError" else HostToolError
        raise kind(str(answer.get("error")))

    tool.__name__ = tool.__qualname__ = name
    return tool


class BlockEnvironment:
    """What a block finds around it, made before the fork where that can be: making it later would copy more pages.

    Args:
        tools: what the block can call.
        limits: of what it may print.
    """

    def __init__(self, tools: dict[str, Callable[..., object]], limits: dict[str, int]) -> None:
        self.main = type(sys)("__main__")
        self.main.__dict__.update(tools, __builtins__=builtins)
        self.hidden = {id(tool) for tool in tools.values()}
        self.printed = Printed(limits["printed_chars"])
        self._nothing = io.StringIO()

    def enter(self, source: str, offered: list[str], channel: Channel) -> dict[str, object]:
        """Put it up for one block; returns the block's namespace."""
        sys.stdin, sys.stdout, sys.stderr = self._nothing, self.printed, self.printed
        sys.modules["__main__"] = self.main  # dataclasses, typing and pickle look a class's module up
        linecache.cache[BLOCK] = (len(source), None, source.splitlines(keepends=True), BLOCK)
        namespace = self.main.__dict__
        for name in offered:
            namespace[name] = tool = host_tool(name, channel)
            self.hidden.add(id(tool))
        return namespace


def install_builtins() -> None:
    """Give builtins what the ``site`` module would have made, and take the debugger away. Once for all."""
    sys.breakpointhook = _no_debugger
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "the end of the block"))


def run(
    channel: Channel, environment: BlockEnvironment, reads: Reads, limits: dict[str, int], index: Any = None
) -> None:
    """Read the request, run its code, write the reply. The caller ends the process."""
    request = channel.read()
    source, offered = request["code"], request["tools"]
    assert isinstance(source, str) and isinstance(offered, list)
    namespace = environment.enter(source, offered, channel)
    error = _execute(source, namespace)
    values = local_values(namespace, environment.hidden, limits["value_chars"], limits["values_chars"])
    error = error or _flush_open_files()
    reply: dict[str, object] = {
        "locals": values,
        "error": error,
        "printed": environment.printed.text(),
        "reads": reads.listed(),
    }
    if index is not None and index.scanned:
        reply["scanned"] = index.scanned
    body = channel.encode(reply)
    if len(body) > limits["reply_bytes"]:
        reply.update(locals={}, printed="", reads=[], error=error or "the block's result is too large to send back")
        body = channel.encode(reply)
    channel.write_encoded(body)


def _execute(source: str, namespace: dict[str, object]) -> str:
    """Run *source*; returns "" or what went wrong. One dict for globals and locals, so that helpers see each other."""
    try:
        exec(compile(source, BLOCK, "exec", dont_inherit=True), namespace)  # what this process is for
    except SystemExit as ending:
        # exit() is how a script says that it is done.
        return "" if ending.code is None or ending.code == 0 else error_text(ending, source)
    except BaseException as error:  # noqa: BLE001  # the block's own failure, of any kind, is its result
        return error_text(error, source)
    return ""


def _no_debugger(*args: object, **kwargs: object) -> None:
    raise RuntimeError("there is no debugger here")


def _flush_open_files() -> str:
    """Write out what the block left in the buffers of files it did not close, as the end of a script would.

    The zygote froze its own objects, so the collector lists only what this child made.
    """
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    left_open = [candidate for candidate in gc.get_objects() if type(candidate) in kinds and not candidate.closed]
    for file in sorted(left_open, key=lambda file: kinds.index(type(file))):  # text first: it writes into the others
        try:
            type(file).flush(file)
        except (OSError, ValueError) as error:
            return error_text(error, "")
    return ""
