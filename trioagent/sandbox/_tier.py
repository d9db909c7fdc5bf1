"""What a sandbox tier must do: run one block over a private view of a memory, and say what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import attrs

from ..memory._changes import ChangeSet

TIERS = ("kernel", "kernel-lite", "monty")
"""All tiers, the best first: the order in which they are tried."""

HostTool = Callable[..., Awaitable[object]]


@attrs.frozen(kw_only=True)
class Outcome:
    """One block's outcome, before anything is committed.

    Attributes:
        locals, error, printed: as in :class:`BlockResult`.
        reads: notes that the block read or looked for, relative to the memory.
        changes: what it did to its view; empty if ``error`` is not.
        scanned: notes that its tools had to look at one by one, as the block says.
    """

    locals: dict[str, str] = attrs.field(factory=dict)
    error: str = ""
    printed: str = ""
    reads: tuple[str, ...] = ()
    changes: ChangeSet = attrs.field(factory=ChangeSet)
    scanned: int = 0


class TierStartError(Exception):
    """A tier does not work here; *step* says how far it came."""

    def __init__(self, step: str, detail: str, errno: int | None = None) -> None:
        super().__init__(step, detail, errno)
        self.step, self.detail, self.errno = step, detail, errno


class Executor(Protocol):
    """A running tier."""

    @property
    def tier(self) -> str: ...

    async def aclose(self) -> None:
        """End whatever runs, and wait until it is gone."""
        ...

    async def execute(
        self, code: str, *, root_fd: int | None, hide: bool, host_tools: Mapping[str, HostTool]
    ) -> Outcome:
        """Run *code* over a private view of the folder behind *root_fd* (an empty one for None).

        Nothing of the folder itself changes. Cancelling kills the block; when this returns or raises, nothing of it is
        left. A block's own failure, of whatever kind, is an outcome.

        Args:
            hide: leave the memory's own ``.trioagent`` out of the view.

        Raises:
            SandboxError: the sandbox itself broke.
        """
        ...
