"""The documented `execute_sandboxed_code`, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from .._configuration import HostFunction
from .._engine import CodeRun, run_code
from .._interop import run_async
from ..settings import SANDBOX_TIMEOUT

__all__ = ("execute_sandboxed_code",)


async def execute_sandboxed_code(
    code: str,
    timeout: float = SANDBOX_TIMEOUT,  # noqa: ASYNC109 - the documented name; it bounds the block, not the caller
    allow_installs: bool = False,
    requirements_path: str | None = None,
    allowed_path: str | os.PathLike[str] | None = None,
    blacklist: Iterable[str] | None = None,
    available_functions: Mapping[str, HostFunction] | str | None = None,
    import_module: str | None = None,
    log: bool = False,
) -> tuple[dict[str, Any] | None, str]:
    """See `trioagent.compat.engine.execute_sandboxed_code`; cancelling kills the block, which then saves nothing."""
    run = CodeRun.of(
        code, timeout, allow_installs, requirements_path, allowed_path, blacklist, available_functions, import_module
    )
    return await run_async(run_code, run, name="execute_sandboxed_code")
