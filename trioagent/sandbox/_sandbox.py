"""``open_sandbox``: where model-written code runs, over a memory, as one transaction."""

from __future__ import annotations

import keyword
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs

from .._config import SandboxLimits
from .._errors import InvalidInputError, MemoryRejectedError
from ..memory import ChangeSet, Knowledge, Lease, Memory, Receipt, UndoLog
from ._probe import start_best
from ._result import BlockResult
from ._tier import TIERS, Executor, HostTool, Outcome

NOTHING_SAVED = "Nothing was saved."


class Sandbox:
    """Runs blocks of code. Made by :func:`open_sandbox`; any number of tasks may share one."""

    def __init__(self, executor: Executor, limits: SandboxLimits) -> None:
        self._executor = executor
        self.limits = limits

    @property
    def tier(self) -> str:
        """Which tier runs the blocks: "kernel", "kernel-lite" or "monty"."""
        return self._executor.tier

    async def run(
        self,
        code: str,
        *,
        memory_path: str | os.PathLike[str] | None = None,
        memory: Memory | None = None,
        knowledge: Knowledge | None = None,
        host_tools: Mapping[str, HostTool] | None = None,
        receipt: Callable[[BlockResult, ChangeSet], Receipt] | None = None,
        undo: UndoLog | None = None,
    ) -> BlockResult:
        """Run one block: all of its changes land in the memory, or none.

        The memory is held from the start of the block to the end of its commit. A block that fails, or whose changes
        are refused, saves nothing and says so in ``error``. Cancelling kills the block and saves nothing; once the
        commit has begun it ends first.

        Args:
            code: Python; tools (``create_file`` and the like) are in its namespace, its folder is the memory.
            memory_path, memory: the notes, one way or the other. Without: an empty folder that is dropped afterwards.
            knowledge: what the agent has read so far, so that it cannot overwrite what others changed since.
            host_tools: async functions that the block may call by name, with JSON values; they run in this task.
            receipt: makes the record that is committed in the same instant as the changes, from the result and them;
                not called if there are none.
            undo: collects how to take the commit back.

        Raises:
            InvalidInputError: an argument cannot be used.
            MemoryPathError, MemoryStorageError: the memory cannot be used; its notes are unchanged.
            SandboxError: the sandbox itself broke; the notes are unchanged.
        """
        if not isinstance(code, str):
            raise InvalidInputError("code", f"must be text, not {type(code).__name__}")
        if memory_path is not None and memory is not None:
            raise InvalidInputError("memory", "give either memory_path or memory, not both")
        tools = _checked_tools(host_tools or {})
        if memory_path is not None:
            memory = Memory(memory_path)
        if memory is None:
            outcome = await self._executor.execute(code, root_fd=None, hide=False, host_tools=tools)
            return self._result(outcome)
        async with memory.lease() as lease:
            outcome = await self._executor.execute(code, root_fd=lease.root_fd, hide=lease.hide, host_tools=tools)
            result = self._result(outcome, saved=bool(outcome.changes) and not outcome.error)
            if outcome.error:
                return attrs.evolve(result, error=f"{outcome.error} {NOTHING_SAVED}")
            return await _commit(lease, result, outcome, knowledge=knowledge, receipt=receipt, undo=undo)

    def _result(self, outcome: Outcome, *, saved: bool = False) -> BlockResult:
        return BlockResult(
            locals=outcome.locals, error=outcome.error, printed=outcome.printed, saved=saved, tier=self.tier
        )


async def _commit(
    lease: Lease,
    result: BlockResult,
    outcome: Outcome,
    *,
    knowledge: Knowledge | None,
    receipt: Callable[[BlockResult, ChangeSet], Receipt] | None,
    undo: UndoLog | None,
) -> BlockResult:
    if not outcome.changes and (knowledge is None or not outcome.reads):
        return result
    try:
        saved = await lease.commit(
            outcome.changes,
            knowledge=knowledge,
            reads=outcome.reads,
            receipt=receipt(result, outcome.changes) if receipt is not None and outcome.changes else None,
            undo=undo,
        )
    except MemoryRejectedError as refusal:
        return attrs.evolve(result, saved=False, error=f"{type(refusal).__name__}: {refusal}. {NOTHING_SAVED}")
    return attrs.evolve(result, saved=saved)


def _checked_tools(host_tools: Mapping[str, HostTool]) -> dict[str, HostTool]:
    for name, tool in host_tools.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise InvalidInputError("host_tools", f"{name!r} is no name that code can call")
        if not callable(tool):
            raise InvalidInputError("host_tools", f"{name} must be an async function, not {tool!r}")
    return dict(host_tools)


@asynccontextmanager
async def open_sandbox(tier: str | None = None, *, limits: SandboxLimits = SandboxLimits()) -> AsyncIterator[Sandbox]:
    """Start a sandbox: the best tier that works here, or the one asked for. On leaving, all of it is gone.

    Tried in this order: "kernel", "kernel-lite", "monty". A tier counts as working once a real block has run in it.
    Model-written code never runs without one. Which it is, `Sandbox.tier` and each result say.

    Raises:
        InvalidInputError: there is no tier of that name.
        SandboxUnavailableError: none works, or not the one asked for; with the reasons.
    """
    if tier is not None and tier not in TIERS:
        raise InvalidInputError("tier", f"must be one of {', '.join(TIERS)}, not {tier!r}")
    executor = await start_best(tier, limits)
    try:
        yield Sandbox(executor, limits)
    finally:
        await executor.aclose()
