"""Runs code in our sandbox for callers of the documented API; shared by the sync and asyncio functions."""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import trio

from .._errors import InvalidInputError
from ..memory import Memory
from ..tools import NAMES as TOOL_NAMES
from ._configuration import HostFunction, current
from ._folders import real_folder
from ._host_tools import for_trio
from ._runtimes import sandbox_for

_OWN_TOOLS = ("agent.tools", "trioagent.compat.tools")  # available in every block


@attrs.frozen(kw_only=True)
class CodeRun:
    """One call of `execute_sandboxed_code`, validated."""

    code: str
    seconds: float
    memory_path: str | None
    forbidden: frozenset[str]
    functions: Mapping[str, HostFunction]

    @classmethod
    def of(
        cls,
        code: str,
        timeout: float,
        allow_installs: bool,
        requirements_path: str | None,
        allowed_path: str | os.PathLike[str] | None,
        blacklist: Iterable[str] | None,
        available_functions: Mapping[str, HostFunction] | str | None,
        import_module: str | None,
    ) -> CodeRun:
        """Raises InvalidInputError if an argument cannot be used."""
        if not isinstance(code, str):
            raise InvalidInputError("code", f"must be text, not {code!r:.100}")
        seconds: Any = timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
            raise InvalidInputError("timeout", f"must be a number of seconds above 0, not {timeout!r}")
        if allow_installs or requirements_path:
            name = "allow_installs" if allow_installs else "requirements_path"
            raise InvalidInputError(
                name,
                "nothing is installed for blocks, which have no network; install packages into the environment that "
                "runs this program, or give the code a function of yours with available_functions=",
            )
        if isinstance(available_functions, str):
            available_functions, import_module = None, import_module or available_functions
        functions = dict(available_functions or {})
        if import_module is not None and import_module not in _OWN_TOOLS:
            functions = {**_functions_of(import_module), **functions}
        return cls(
            code=code,
            seconds=float(timeout),
            memory_path=None if allowed_path is None else real_folder(allowed_path, "allowed_path"),
            forbidden=frozenset(blacklist or ()),
            functions={name: function for name, function in functions.items() if name not in TOOL_NAMES},
        )


async def run_code(run: CodeRun) -> tuple[dict[str, Any] | None, str]:
    """The block's variables (None if there are none) and its error ("" if there is none); in Trio."""
    if found := _forbidden_name(run):
        return {}, f"NameError: {found!r} is not allowed here"
    sandbox = await sandbox_for(run.seconds)
    with trio.move_on_after(run.seconds):
        policy = current().policy
        memory = None if run.memory_path is None else Memory(run.memory_path, policy=policy)
        result = await sandbox.run(run.code, memory=memory, host_tools=for_trio(run.functions))
        ended_early = result.error and not result.locals
        return (None if ended_early else {name: _value(shown) for name, shown in result.locals.items()}), result.error
    return None, f"TimeoutError: Code execution exceeded {run.seconds:g} seconds."


def _value(shown: str) -> Any:
    """The value of a block's variable from its ``repr``; for values that are not plain the ``repr`` itself."""
    try:
        return ast.literal_eval(shown)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return shown


def _functions_of(name: str) -> dict[str, HostFunction]:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InvalidInputError("import_module", f"{name!r} cannot be imported: {error}") from None
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}


def _forbidden_name(run: CodeRun) -> str:
    if not run.forbidden:
        return ""
    try:
        tree = ast.parse(run.code)
    except (SyntaxError, ValueError):
        return ""  # the sandbox has a better error message
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in run.forbidden:
                return name
            case _:
                pass
    return ""
