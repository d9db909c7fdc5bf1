"""The interface of sandbox tiers, and `Sandbox`: runs blocks over a memory, each as one transaction."""

from __future__ import annotations

import keyword
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

import attrs
import trio

from .._activity import doing
from .._config import SandboxLimits
from .._errors import InvalidInputError, MemoryRejectedError
from ..memory import (
    NO_ORIGIN,
    NOTHING_SEEN,
    ChangeSet,
    CommitOrigin,
    Knowledge,
    Lease,
    Memory,
    Receipt,
    SeenNotes,
    UndoLog,
)
from ..tools import DEFAULT_RULES, AccessRules
from ._review import RejectChanges, Reviewer, request_for, reviewed

TIERS = ("kernel", "kernel-lite", "monty")
"""All tiers, best first: the order in which they are tried."""

HostTool = Callable[..., Awaitable[object]]


@attrs.frozen(kw_only=True)
class Outcome:
    """One block's outcome, before anything is committed.

    Attributes:
        locals, error, printed: as in :class:`BlockResult`.
        seen: the versions of the notes that the block read, looked up or changed.
        changes: its changes of the view; empty if ``error`` is not.
        scanned: how many notes its tools had to scan, as reported by the block.
    """

    locals: dict[str, str] = attrs.field(factory=dict)
    error: str = ""
    printed: str = ""
    seen: SeenNotes = NOTHING_SEEN
    changes: ChangeSet = attrs.field(factory=ChangeSet)
    scanned: int = 0


class TierStartError(Exception):
    """A tier does not work here; *step* names the step that failed."""

    def __init__(self, step: str, detail: str, errno: int | None = None) -> None:
        super().__init__(step, detail, errno)
        self.step, self.detail, self.errno = step, detail, errno


NOT_MOUNTED = "mounting: "


class CodeNotSentError(Exception):  # internal
    """A block's code has not reached a child, so another child can run it; *problem* says what happened."""

    def __init__(self, problem: str, cost: float = 1) -> None:
        super().__init__(problem, cost)
        self.problem, self.cost = problem, cost


class NotAnsweredError(CodeNotSentError):  # internal
    """A timeout, which takes seconds: retried less often than errors that come at once."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, cost=2)


LOST_ZYGOTE_COST = 0.25
"""Of a child that died with its zygote: neither the block nor its memory can be the reason, hence more retries."""


class NotMountedError(CodeNotSentError):  # internal
    """No overlay can be mounted over a memory."""


def not_set_up(problem: str) -> CodeNotSentError:
    """For an error that a child has reported: it will recur, unless it was caused by a zygote's death."""
    if NOT_MOUNTED in problem:
        return NotMountedError(problem, cost=10)
    return CodeNotSentError(problem or "a child died while it was set up", cost=10 if problem else 1)


class Executor(Protocol):
    """A running tier."""

    @property
    def tier(self) -> str: ...

    @property
    def zygotes(self) -> int:
        """The number of live zygotes, from which blocks' processes are forked; 0 in a tier without them."""
        ...

    async def aclose(self) -> None:
        """Kill all running blocks, and wait until everything is gone."""
        ...

    def use_background(self, nursery: trio.Nursery) -> None:
        """Background work may run in *nursery*; it must not raise, and ends with the nursery."""
        ...

    async def execute(
        self,
        code: str,
        *,
        root_fd: int | None,
        hide: bool,
        host_tools: Mapping[str, HostTool],
        rules: AccessRules = DEFAULT_RULES,
    ) -> Outcome:
        """Run *code* over a private view of the folder behind *root_fd* (an empty one for None).

        The folder itself is not changed. Cancelling kills the block; when this returns or raises, nothing of it is
        left. Any failure of the block itself is an outcome.

        Args:
            hide: the memory has its own ``.trioagent``; hidden names are never in the view.
            rules: what the view shows, and what the tools refuse to write.

        Raises:
            SandboxError: the sandbox itself failed.
        """
        ...


@attrs.frozen(kw_only=True)
class BlockResult:
    """The result of one block of code.

    Attributes:
        locals: the block's variables, name to ``repr``, bounded (see :class:`SandboxLimits`) and ready to print: a
            variable ``v`` holding the text ``hi`` is ``{"v": "'hi'"}``.
        error: "" if the block succeeded, else what went wrong, for the model.
        printed: the block's standard output and error.
        saved: True if the block changed notes and the changes were committed.
        tier: the sandbox tier that ran it.
    """

    locals: dict[str, str]
    error: str
    printed: str
    saved: bool
    tier: str


NOTHING_SAVED = "Nothing was saved."


class Sandbox:
    """Runs blocks of code. Created by :func:`open_sandbox`; any number of tasks may share one."""

    def __init__(self, executor: Executor, limits: SandboxLimits) -> None:
        self._executor = executor
        self.limits = limits

    @property
    def tier(self) -> str:
        """The tier that runs the blocks: "kernel", "kernel-lite" or "monty"."""
        return self._executor.tier

    @property
    def zygotes(self) -> int:
        """The number of live zygotes, from which blocks' processes are forked; 0 in a tier without them."""
        return self._executor.zygotes

    async def execute(
        self,
        code: str,
        *,
        root_fd: int | None,
        rules: AccessRules = DEFAULT_RULES,
        host_tools: Mapping[str, HostTool] | None = None,
    ) -> Outcome:
        """Run one block without committing its changes, for callers that commit elsewhere. See `Executor.execute`."""
        tools = host_tools or {}
        return await self._executor.execute(code, root_fd=root_fd, hide=False, host_tools=tools, rules=rules)

    async def run(
        self,
        code: str,
        *,
        memory_path: str | os.PathLike[str] | None = None,
        memory: Memory | None = None,
        knowledge: Knowledge | None = None,
        host_tools: Mapping[str, HostTool] | None = None,
        receipt: Callable[[BlockResult, ChangeSet, SeenNotes], Receipt] | None = None,
        undo: UndoLog | None = None,
        review: Reviewer | None = None,
        origin: CommitOrigin | None = None,
        readable: tuple[str, ...] = ("**",),
        observe: Callable[[SeenNotes, ChangeSet], None] | None = None,
    ) -> BlockResult:
        """Run one block: all of its changes are saved in the memory, or none.

        The memory is leased from the start of the block to the end of its commit. A block that fails, or whose changes
        are refused, saves nothing; ``error`` says why. Cancelling kills the block and saves nothing; a commit that has
        begun is completed first.

        Args:
            code: Python; tools (``create_file`` and the like) are in its namespace, its folder is the memory.
            memory_path, memory: the notes, one way or the other. Without: an empty folder that is discarded afterwards.
            knowledge: what the agent has read so far, so that it cannot overwrite what others have changed since.
            host_tools: async functions that the block may call by name, with JSON values; they run in this task.
            receipt: makes the record that is committed atomically with the changes, from the result, the changes, and
                what the block saw; not called if nothing changed.
            undo: collects what is needed to undo the commit.
            review: called before the changes of a successful block are saved. The lease is released meanwhile; a note
                that somebody else changes until then is a conflict.
                note that somebody else changes until then is a conflict.
            origin: who runs the block and why, for the memory's history, if one is kept.
            readable: globs of the notes that the block is shown, within those of the memory's policy.
            observe: called after the run with what the block saw of the notes and changed in its view.

        Raises:
            InvalidInputError: an argument cannot be used.
            MemoryPathError, MemoryStorageError: the memory cannot be used; its notes are unchanged.
            SandboxError: the sandbox itself failed; the notes are unchanged.
        """
        if not isinstance(code, str):
            raise InvalidInputError("code", f"must be text, not {type(code).__name__}")
        if memory_path is not None and memory is not None:
            raise InvalidInputError("memory", "give either memory_path or memory, not both")
        tools = _checked_tools(host_tools or {})
        if memory_path is not None:
            memory = Memory(memory_path)
        if memory is None:
            outcome = await self._executor.execute(
                code, root_fd=None, hide=False, host_tools=tools, rules=DEFAULT_RULES
            )
            return self._result(outcome)
        save = partial(_commit, knowledge=knowledge, receipt=receipt, undo=undo, origin=origin)
        async with memory.lease() as lease:
            if readable != ("**",):
                lease.restrict(readable)
            outcome = await self._executor.execute(
                code, root_fd=lease.root_fd, hide=lease.hide, host_tools=tools, rules=lease.rules
            )
            if observe is not None:
                observe(outcome.seen, outcome.changes)
            result = self._result(outcome, saved=bool(outcome.changes) and not outcome.error)
            if outcome.error:
                return attrs.evolve(result, error=f"{outcome.error} {NOTHING_SAVED}")
            if review is None or not outcome.changes:
                return await save(lease, result, outcome)
            try:
                changes, seen = await lease.preview(outcome.changes, knowledge=knowledge, seen=outcome.seen)
            except MemoryRejectedError as refusal:
                return _refused(result, refusal)
            if not changes:  # except for empty folders
                return await save(lease, result, outcome)
        request = await request_for(code, changes, sorted(outcome.seen.reads))
        with doing("review"):
            verdict = reviewed(outcome.changes, request, await review(request))
        if isinstance(verdict, RejectChanges):
            reason = verdict.reason.strip() or "no reason was given"
            words = f"ReviewError: the owner of the notes rejected the changes: {reason}."
            return attrs.evolve(result, saved=False, error=f"{words} {NOTHING_SAVED}")
        outcome = attrs.evolve(outcome, changes=verdict)
        if knowledge is None:
            knowledge = Knowledge(blind_overwrite="allow")  # so that what was changed during the review is noticed
        async with memory.lease() as lease:
            if readable != ("**",):
                lease.restrict(readable)
            return await save(lease, result, outcome, seen, knowledge=knowledge)

    def _result(self, outcome: Outcome, *, saved: bool = False) -> BlockResult:
        return BlockResult(
            locals=outcome.locals, error=outcome.error, printed=outcome.printed, saved=saved, tier=self.tier
        )


async def _commit(
    lease: Lease,
    result: BlockResult,
    outcome: Outcome,
    seen: SeenNotes | None = None,
    *,
    knowledge: Knowledge | None,
    receipt: Callable[[BlockResult, ChangeSet, SeenNotes], Receipt] | None,
    undo: UndoLog | None,
    origin: CommitOrigin | None,
) -> BlockResult:
    if not outcome.changes and (knowledge is None or not outcome.seen.reads):
        return result
    try:
        saved = await lease.commit(
            outcome.changes,
            knowledge=knowledge,
            seen=outcome.seen if seen is None else seen,
            receipt=partial(receipt, result, outcome.changes) if receipt is not None and outcome.changes else None,
            undo=undo,
            origin=NO_ORIGIN if origin is None else origin,
            by_block=True,
        )
    except MemoryRejectedError as refusal:
        return _refused(result, refusal)
    return result if saved == result.saved else attrs.evolve(result, saved=saved)


def _refused(result: BlockResult, refusal: MemoryRejectedError) -> BlockResult:
    return attrs.evolve(result, saved=False, error=f"{type(refusal).__name__}: {refusal}. {NOTHING_SAVED}")


def _checked_tools(host_tools: Mapping[str, HostTool]) -> dict[str, HostTool]:
    for name, tool in host_tools.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise InvalidInputError("host_tools", f"{name!r} is not a name that code can call")
        if not callable(tool):
            raise InvalidInputError("host_tools", f"{name} must be an async function, not {tool!r}")
    return dict(host_tools)
