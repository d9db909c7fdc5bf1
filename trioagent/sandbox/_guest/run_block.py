"""Runs one block's code in a confined child, and replies to the host."""

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

from ...tools import Access, AccessRules, SeenLog, version_of_open
from .limits import MAX_ARGUMENTS, MAX_PATH_CHARS
from .os_view import current
from .ready import ready_names
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


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FOLDER = (-1, None)  # no folder given for a relative path
_UNSEEN = ("os.link", "os.symlink", "sqlite3.connect", "dbm.open")


class Reads(SeenLog):
    """The notes that the block has read or looked up, and changed: its changes are checked against them.

    Opens, renames and removals are seen by an audit hook, which Python code cannot remove, and which is called before
    the call itself. So the version that is recorded is that of the content which the call finds, or an older one (which
    may cause a false conflict, but never a missed one). What the tools open (*quiet*) they record themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.quiet: Any = None
        self.root = ""  # of the view; nothing is recorded without one, so nothing that the zygote reads
        self._looking = False
        self._trees = False

    def listed(self) -> list[list[str]]:
        """For the reply: path, version ("" for none) and "read" or "replaced" of each; only possible note paths.

        The text is valid UTF-8.
        """
        notes = []
        for how, versions in (("read", self.reads), ("replaced", self.replaced)):
            for path, version in versions.items():
                text = clean(path)
                if len(text) <= MAX_PATH_CHARS:
                    notes.append([text, version or "", how])
        return notes

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.root or self._looking or (self.quiet is not None and self.quiet.depth > 0):
            return
        look = _WATCHED.get(event)
        if look is None:
            if event in _UNSEEN or event.startswith("ctypes."):
                self.complete = False
            return
        self._looking = True
        try:
            look(self, *arguments)
        except (OSError, TypeError, ValueError):  # not a path; or the call itself will raise it
            self.complete = False
        finally:
            self._looking = False

    def _open(self, path: Any, mode: Any, flags: int) -> None:
        if isinstance(path, int) or flags & os.O_DIRECTORY:
            return
        real_path = os.path.realpath(os.fsdecode(path))
        changes = flags & (_WRITING | os.O_CREAT)
        if not flags & (os.O_TRUNC | os.O_EXCL):  # with one of them the old content cannot be seen
            self._look(real_path, self.read)
        if changes:
            self._look(real_path, self.change)

    def _remove(self, path: Any, folder: int | None = None) -> None:
        if folder in _NO_FOLDER:
            self._look(_without_link(path), self.change)
        elif not self._trees:  # the files of a tree to remove were recorded before
            self.complete = False

    def _remove_tree(self, path: Any, folder: int | None = None) -> None:
        if folder not in _NO_FOLDER:
            self.complete = False
            return
        self._trees = True
        for each in _files_below(_without_link(path)):
            self._look(each, self.change)

    def _rename(self, source: Any, target: Any, source_folder: int | None, target_folder: int | None) -> None:
        if source_folder not in _NO_FOLDER or target_folder not in _NO_FOLDER:
            self.complete = False
            return
        old, new = _without_link(source), _without_link(target)
        for each in [old] if not os.path.isdir(old) else _files_below(old):
            self._look(each, self.change)
            self._look(new + each[len(old) :], self.change)

    def _truncate(self, path: Any, length: int) -> None:
        if not isinstance(path, int):
            self._look(os.path.realpath(os.fsdecode(path)), self.change)

    def _look(self, real_path: str, record: Callable[[str, str | None], None]) -> None:
        """Record the version of the file at an absolute path, if that is inside of the view."""
        path = real_path.strip("/") if self.root == "/" else real_path[len(self.root) + 1 :]
        if not path or not real_path.startswith(f"{self.root.rstrip('/')}/") or path in self.replaced:
            return
        if path in self.reads:
            record(path, None)  # its version is already known
            return
        try:
            descriptor = os.open(real_path, _LOOK)
        except (FileNotFoundError, NotADirectoryError):
            record(path, None)
            return
        except OSError:  # a symbolic link, or no permission: the call itself will raise it
            return
        try:
            version = version_of_open(descriptor)
        finally:
            os.close(descriptor)
        if version != "special":
            record(path, version)


_WATCHED: dict[str, Callable[..., None]] = {
    "open": Reads._open,
    "os.remove": Reads._remove,
    "os.rename": Reads._rename,
    "os.truncate": Reads._truncate,
    "shutil.rmtree": Reads._remove_tree,
}


def _without_link(path: Any) -> str:
    """An absolute path whose last name is not resolved if it is a link."""
    folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
    return os.path.join(os.path.realpath(folder), name)


def _files_below(folder: str) -> list[str]:
    return [os.path.join(here, name) for here, _, names in os.walk(folder) for name in names]


class HostToolError(Exception):
    """A host tool failed; the text is the tool's own."""


def host_tool(name: str, channel: Channel) -> Callable[..., object]:
    """A function for the block that has the host run its tool *name* and waits for the answer."""

    def tool(*args: object, **kwargs: object) -> object:
        if _has_more_values([args, kwargs], MAX_ARGUMENTS):
            raise TypeError(f"{name}() takes no more than {MAX_ARGUMENTS} values")
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


def _has_more_values(values: list[Any], most: int) -> bool:
    """Whether *values* have more than *most* values at all levels, counted as in JSON: shared items count each time."""
    waiting, count = values, 0
    while waiting and count <= most:
        value = waiting.pop()
        if isinstance(value, dict):
            count += 2 * len(value)
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            count += len(value)
            if count <= most:
                waiting.extend(value)
    return count > most


class BlockEnvironment:
    """A block's environment, made before the fork as far as possible: later it would copy more pages.

    Args:
        tools: the functions that the block can call.
        access: what they may access.
        limits: of what it may print.
    """

    def __init__(self, tools: dict[str, Callable[..., object]], access: Access, limits: dict[str, int]) -> None:
        self.access = access
        self.main = type(sys)("__main__")
        self.main.__dict__.update(ready_names() | tools, __builtins__=builtins)
        self.hidden = {id(tool) for tool in tools.values()}
        self.printed = Printed(limits["printed_chars"])
        self._nothing = io.StringIO()

    def enter(self, source: str, offered: list[str], channel: Channel) -> dict[str, object]:
        """Set it up for one block; returns the block's namespace."""
        sys.stdin, sys.stdout, sys.stderr = self._nothing, self.printed, self.printed
        sys.modules["__main__"] = self.main  # dataclasses, typing and pickle look up a class's module
        linecache.cache[BLOCK] = (len(source), None, source.splitlines(keepends=True), BLOCK)
        namespace = self.main.__dict__
        for name in offered:
            namespace[name] = tool = host_tool(name, channel)
            self.hidden.add(id(tool))
        return namespace


def forget_source() -> None:
    """Drop the last block's source, which `BlockEnvironment.enter` has set. A child would do it on its own pages."""
    linecache.cache.clear()


def install_builtins() -> None:
    """Add the builtins that the ``site`` module would add, and remove the debugger; once per process."""
    sys.breakpointhook = _no_debugger
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "the end of the block"))


def run(
    channel: Channel, environment: BlockEnvironment, reads: Reads, limits: dict[str, int], index: Any = None
) -> None:
    """Read the request, run its code, write the reply. The caller exits the process."""
    try:
        request = channel.read()
    except MemoryError:
        problem = "MemoryError: the code is too large for the memory that a block may use"
        channel.write({"locals": {}, "error": problem, "printed": "", "reads": []})
        return
    source, offered = request["code"], request["tools"]
    rules = request.get("rules")
    if isinstance(rules, dict):
        environment.access.rules = AccessRules.from_data(rules)
    assert isinstance(source, str) and isinstance(offered, list)
    namespace = environment.enter(source, offered, channel)
    error = _execute(source, namespace)
    values = local_values(namespace, environment.hidden, limits["value_chars"], limits["values_chars"])
    error = error or _flush_open_files() or _end_view()
    reply: dict[str, object] = {
        "locals": values,
        "error": error,
        "printed": environment.printed.text(),
        "reads": reads.listed(),
        "complete": reads.complete,
    }
    if index is not None and index.scanned:
        reply["scanned"] = index.scanned
    body = channel.encode(reply)
    if len(body) > limits["reply_bytes"]:
        reply.update(
            locals={},
            printed="",
            reads=[],
            complete=False,
            error=error or "the block's result is too large to send back",
        )
        body = channel.encode(reply)
    channel.write_encoded(body)


def _execute(source: str, namespace: dict[str, object]) -> str:
    """Run *source*; returns "" or the error. One dict for globals and locals, so that helpers see each other."""
    try:
        exec(compile(source, BLOCK, "exec", dont_inherit=True), namespace)  # the purpose of this process
    except SystemExit as ending:
        # exit() is how a script ends normally.
        return "" if ending.code is None or ending.code == 0 else error_text(ending, source)
    except BaseException as error:  # noqa: BLE001  # the block's own failure, of any kind, is its result
        return error_text(error, source)
    return ""


def _end_view() -> str:
    if current.view is not None:
        try:
            current.view.write_list()
        except OSError as error:
            return error_text(error, "")
    return ""


def _no_debugger(*args: object, **kwargs: object) -> None:
    raise RuntimeError("there is no debugger here")


_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def _flush_open_files() -> str:
    """Flush the buffers of files that the block did not close, as the end of a script would.

    The zygote froze its own objects, so the garbage collector lists only what this child created.
    """
    left_open = []
    for candidate in gc.get_objects():
        if type(candidate) in _BUFFERED and not candidate.closed:
            left_open.append(candidate)
    if not left_open:
        return ""
    for file in sorted(left_open, key=lambda file: _BUFFERED.index(type(file))):  # text first: it writes to the others
        try:
            type(file).flush(file)
        except (OSError, ValueError) as error:
            return error_text(error, "")
    return ""
