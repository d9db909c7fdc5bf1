"""The documented `execute_sandboxed_code`, sync."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ._configuration import HostFunction
from ._engine import CodeRun, run_code
from ._interop import run_sync
from .settings import SANDBOX_TIMEOUT

__all__ = ("execute_sandboxed_code",)


def execute_sandboxed_code(
    code: str,
    timeout: float = SANDBOX_TIMEOUT,
    allow_installs: bool = False,
    requirements_path: str | None = None,
    allowed_path: str | os.PathLike[str] | None = None,
    blacklist: Iterable[str] | None = None,
    available_functions: Mapping[str, HostFunction] | str | None = None,
    import_module: str | None = None,
    log: bool = False,
) -> tuple[dict[str, Any] | None, str]:
    """Run a block of code in the sandbox, over a folder of notes, with the tools for notes in its namespace.

    Args:
        code: Python.
        timeout: seconds.
        allowed_path: the notes; the changes are saved as a whole or not at all. None for an empty folder that is
            discarded.
        blacklist: names that the code may not use.
        available_functions: functions that the code may call, with JSON values; they run here, outside of the sandbox.
        import_module: a module whose public functions are made available likewise. "agent.tools" is always available.
        allow_installs, requirements_path: refused: nothing is installed for a block.
        log: without effect; errors are in the result.

    Returns:
        The block's variables by name (plain values as they are, others as their ``repr``), or None if it was stopped
        before it had any; and its error, "" if there is none.

    Raises:
        InvalidInputError: an argument is invalid.
        MemoryPathError, MemoryStorageError: the notes cannot be used; they are unchanged.
        SandboxError: the sandbox itself failed.
    """
    run = CodeRun.of(
        code, timeout, allow_installs, requirements_path, allowed_path, blacklist, available_functions, import_module
    )
    return run_sync(run_code, run, name="execute_sandboxed_code")
