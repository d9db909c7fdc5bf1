"""Runs one block in a fresh Monty session: its names, its tools, its files, and its results."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import pydantic_monty as monty

from ....tools import Access, NoResults, PathList, ToolError, make_tools
from .. import values
from ..limits import NAME_CHARS
from ..run_block import HostToolError, Printed, Reads, host_tool
from ..wire import Channel
from .adapt import IN, TEXT, TRUTH, adapted, bare_imports
from .files import Files
from .view import View

TOOLING = tuple(
    f"<class '{name}'>"
    for name in ("function", "type", "module", "builtin_function_or_method", "method", "functools.partial")
)
# Runs before the block's own first line. Names with two underscores are not shown, nor are functions.
PRELUDE = f"""\
def {TRUTH}(value):
    return False if type(value) is str and value[:5] == "Error" and __is_error__(value) else value
def {TEXT}(value):
    return __tree__(value) if type(value) is list else value
def {IN}(item, value):
    if type(value) is list and type(item) is str:
        return item in value or __in_tree__(item, value)
    return item in value
def __values__(names, most, room):
    shown = []
    for name, value in names.items():
        kind = str(type(value))
        if name[:2] == "__" or name == "_" or kind in {TOOLING!r}:
            continue
        if room <= 0:
            shown.append(("...", "more variables than fit here"))
            break
        limit = most if most < room else room
        try:
            if kind in ("<class 'str'>", "<class 'bytes'>") and len(value) > limit:
                unit = "characters" if kind == "<class 'str'>" else "bytes"
                some = limit
                while len(repr(value[:some])) - 1 > limit:
                    some = some - (len(repr(value[:some])) - limit) // 2
                note = f"for more, assign a part such as [{{some}}:{{2 * some}}]"
                text = f"{{repr(value[:some])[:-1]}}… ({{len(value)}} {{unit}} in all; {{note}})"
            else:
                text = repr(value)
                if len(text) > limit:
                    text = f"{{text[:limit]}}… ({{len(text)}} characters in all; for more, assign a part of it)"
        except Exception as error:
            text = f"<{{type(value).__name__}}: its repr raised {{type(error).__name__}}>"
        shown.append((name, text))
        room -= len(name) + len(text)
    return shown
def exit(code=None):
    raise SystemExit("" if code is None or code == 0 else str(code))
quit = exit
"""
PRELUDE_LINES = PRELUDE.count("\n")
MAX_CALLS = 1_000_000  # tools and file operations; the time limits are what bounds them
MAX_ERRORS = 1000
MAX_LISTINGS = 100
OFFERED: dict[str, ModuleType] = {}
"""The packages that blocks are offered, by name."""
_PACKAGE_IMPORT = re.compile(r"^from (\w+) import (\w+(?:, \w+)*)$", re.MULTILINE)
UNSUPPORTED = "The monty syntax parser does not yet support "


class Block:
    """One block.

    Args:
        access: what the block may access.
        host_tools: names of the host tools, called over *channel*.
    """

    def __init__(
        self, view: View, access: Access, channel: Channel, host_tools: list[str], limits: dict[str, Any]
    ) -> None:
        self._limits, self._printed, self._reads = limits, Printed(limits["printed_chars"]), Reads()
        self._errors: list[str] = []
        self._host_errors: set[str] = set()
        self._files = Files(view, self._reads)
        self._listings: dict[tuple[str, ...], PathList] = {}
        self._names: dict[str, Any] = {
            "__is_error__": self._errors.__contains__,
            "__tree__": self._tree,
            "__in_tree__": self._in_tree,
        }
        self._tools = make_tools(view, self._reads, access=access)
        for name, function in self._tools.items():
            self._names[name] = self._tool(name, function)
        for name in host_tools:
            self._names[name] = self._host_tool(host_tool(name, channel))

    def run(self, session: monty.MontySession, code: str) -> tuple[dict[str, Any], bool]:
        """Run *code*; returns the reply, and whether the worker can run another block."""
        source = code.replace("\r\n", "\n").replace("\r", "\n")
        shown = f"__values__(locals(), {self._limits['value_chars']}, {self._limits['values_chars']})"
        error, variables, alive = "", [], True
        try:
            try:
                # The result must not be the block's last expression: Monty 1.4.0 crashes on some values.
                prelude = PRELUDE.removesuffix("\n") + "".join(f"; {line}" for line in bare_imports(source))
                adapted_source = adapted(_PACKAGE_IMPORT.sub(self._import, source))
                variables = self._feed(session, f"{prelude}\n{adapted_source}\n{shown}")
            except (monty.MontyRuntimeError, monty.MontySyntaxError) as problem:
                error = self._error(problem, source)
                if not _out_of_limits(problem):
                    variables = self._feed(session, shown)
        except monty.MontyCrashedError as problem:
            error, alive = error or _crash(problem), False
        except monty.MontyError as problem:  # while it showed its variables
            error = error or self._error(problem, source)
        return {
            "locals": self._shown(variables),
            "error": error,
            "printed": self._printed.text(),
            "reads": self._reads.listed(),
            "complete": self._reads.complete,
        }, alive

    def _import(self, line: re.Match[str]) -> str:
        """Replaces an import from an offered package: its functions run in this process, with the block's tools."""
        package = OFFERED.get(line[1])  # and no other module of this process
        names = line[2].split(", ")
        if package is None or not all(isinstance(vars(package).get(name), FunctionType) for name in names):
            return line[0]
        for name in names:
            self._names[name] = partial(_with_tools, vars(package)[name], self._tools)
        self._names["globals"] = dict  # passed to such functions, for the tools in it
        return "pass"

    def _feed(self, session: monty.MontySession, code: str) -> list[Any]:
        result = session.feed_run(
            code, external_lookup=self._names, print_callback=self._print, os=self._files, skip_type_check=True
        )
        return result if type(result) is list else []

    def _print(self, stream: str, text: str) -> None:
        self._printed.write(text)

    def _tool(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            result = function(
                *(self._as_it_was(value) for value in args),
                **{key: self._as_it_was(value) for key, value in kwargs.items()},
            )
            if isinstance(result, PathList) and len(self._listings) < MAX_LISTINGS:
                self._listings[tuple(result)] = result
            if isinstance(result, NoResults):
                self._printed.write(f"{name}(): {result.error}\n")  # Monty's lists cannot carry an error text
                return []
            if isinstance(result, ToolError) and len(self._errors) < MAX_ERRORS:
                self._errors.append(str(result))
            if isinstance(result, PathList):
                return list(result)
            return str(result) if isinstance(result, ToolError) else result

        return call

    def _tree(self, value: list[Any]) -> object:
        """The text form of a list from ``list_files``; any other list unchanged."""
        found = self._listing(value)
        return value if found is None else found.text

    def _in_tree(self, item: str, value: list[Any]) -> bool:
        found = self._listing(value)
        return found is not None and item in found

    def _listing(self, value: list[Any]) -> PathList | None:
        return self._listings.get(tuple(value)) if all(type(one) is str for one in value) else None

    def _as_it_was(self, value: object) -> object:
        """A tool's error text, or a text that begins with one, becomes an error text again as an argument."""
        if type(value) is str and any(value.startswith(error) for error in self._errors):
            return ToolError(value)
        return value

    def _host_tool(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            try:
                return function(*args, **kwargs)
            except HostToolError as error:
                self._host_errors.add(str(error))
                raise Exception(str(error)) from None  # Monty knows only the built-in exception types

        return call

    def _shown(self, variables: list[Any]) -> dict[str, str]:
        """The variables as text, bounded again, since the worker is not trusted."""
        shown: dict[str, str] = {}
        left: int = self._limits["values_chars"] + 1000
        for item in variables:
            match item:
                case (str() as name, str() as text) if left > 0:
                    text = values.clean(values.ADDRESS.sub("", text))[: self._limits["value_chars"] + 100]
                    shown[values.clean(name[:NAME_CHARS])] = text
                    left -= len(name) + len(text)
        return shown

    def _error(self, problem: monty.MontyError, source: str) -> str:
        """One line for the model, "" if the block called exit()."""
        error = problem.exception()
        text = str(error)
        if isinstance(error, SystemExit):
            if not error.args or text in ("", "0", "None"):
                return ""
            return values.error_text(SystemExit(text), "")
        if isinstance(error, TimeoutError) and _out_of_limits(problem):
            seconds = self._limits["cpu_seconds"]
            return f"TimeoutError: the block used more than {seconds} s of processor time and was stopped."
        if isinstance(error, NotImplementedError) and text.startswith(UNSUPPORTED):
            error = NotImplementedError(f"this sandbox runs a part of Python, without {text[len(UNSUPPORTED) :]}")
        if type(error) is Exception and text in self._host_errors:
            error = HostToolError(text)
        frames = [frame.line for frame in _frames(problem) if frame.line > PRELUDE_LINES]
        line = min(frames[-1] - PRELUDE_LINES, source.count("\n") + 1) if frames else None
        if isinstance(error, SyntaxError):
            return values.clean(f"SyntaxError: {text}{values.place(line, source)}")
        return values.error_text(error, source) + values.clean(values.place(line, source))


def _with_tools(function: Callable[..., Any], own: Mapping[str, object], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs | {"tools": own})


def _frames(problem: monty.MontyError) -> list[monty.Frame]:
    if isinstance(problem, monty.MontyRuntimeError | monty.MontySyntaxError):
        return [frame for frame in problem.traceback() if frame.filename.startswith("<python-input-0")]
    return []


def _out_of_limits(problem: monty.MontyError) -> bool:
    """Whether Monty itself stopped the block in mid-execution. The session cannot be used then."""
    error = problem.exception()
    return isinstance(error, TimeoutError | MemoryError) and "limit exceeded" in str(error)


def _crash(problem: monty.MontyCrashedError) -> str:
    why = str(problem)
    if problem.timed_out or "time limit" in why:
        return "TimeoutError: the block did not end when its time was over, and was stopped."
    if "panicked" in why:
        return "RuntimeError: the block crashed the interpreter."
    return "RuntimeError: the block was killed, most likely for using too much memory."


def session_of(pool: monty.Monty, limits: dict[str, Any]) -> monty.MontySession:
    """A fresh session, with Monty's own limits; a context manager.

    It has the machine's clock and local time. Sleeping is bounded from outside, by the block's wall clock limit.
    """
    now = time.localtime()
    return pool.checkout(
        limits={
            "max_feed_duration_secs": float(limits["cpu_seconds"]),
            "max_memory": limits["memory_bytes"],
            "max_suspensions": MAX_CALLS,
        },
        os_policy={
            "timezone": {"offset_seconds": now.tm_gmtoff, "name": now.tm_zone},
            "sleep": "system",
            "sleep_system_max": float("inf"),
        },
    )
