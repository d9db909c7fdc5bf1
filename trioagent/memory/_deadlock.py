"""Whether a wait for a memory can ever end: it cannot if the holder itself waits for the waiting task.

A block holds its memory while its host tools run. A tool that wants that memory again, in its own task or in one below
it, or two tools that want each other's, would deadlock; the one that closes such a cycle gets an error at once. A
context variable, which tasks inherit, tells within which holdings a task runs. Only those of the
task itself or of a task above it count: a tool does not wait for a task that it has started elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

import attrs
import trio

from .._errors import MemoryDeadlockError

Identity = tuple[int, int]  # device and inode of a memory's folder: it may have several paths


@attrs.define(eq=False)
class Holding:
    """A memory that is held: by which task, and within which other holdings. A context manager: until its end."""

    path: str
    identity: Identity
    task: trio.lowlevel.Task
    outer: Holding | None
    nurseries: list[trio.Nursery]  # of the task, opened before: their tasks may outlive the holding
    holdings: Holdings
    released: bool = False

    def __enter__(self) -> None:
        self.holdings.by_path[self.path] = self.holdings.by_identity[self.identity] = self
        _innermost.set(self)

    def __exit__(self, *_: object) -> None:
        self.released = True
        _innermost.set(self.outer)
        del self.holdings.by_path[self.path], self.holdings.by_identity[self.identity]


@attrs.define(eq=False)
class LeaseWait:
    """A wait for a memory, and the holdings that last until it ends. A context manager; the wait may end earlier."""

    path: str
    within: list[Holding]
    holdings: Holdings
    identity: Identity | None = None  # not known before the folder is opened

    def __enter__(self) -> LeaseWait:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """The memory is held. No error if it was ended before."""
        self.holdings.waits.pop(self, None)


@attrs.define(eq=False)
class Holdings:
    """Which memories are held in one trio run, and which a holder waits for."""

    by_path: dict[str, Holding] = attrs.field(factory=dict)
    by_identity: dict[Identity, Holding] = attrs.field(factory=dict)
    waits: dict[LeaseWait, None] = attrs.field(factory=dict)

    def waiting(self, path: str) -> LeaseWait:
        """Wait for the memory of that path, within what this task holds.

        Raises:
            MemoryDeadlockError: the wait could never end.
        """
        wait = LeaseWait(path, _held_here(), self)
        if wait.within:
            self.check(wait)
            self.waits[wait] = None
        return wait

    def holding(self, path: str, identity: Identity) -> Holding:
        """Hold the memory."""
        outer = _innermost.get()
        while outer is not None and outer.released:
            outer = outer.outer
        task = trio.lowlevel.current_task()
        return Holding(path, identity, task, outer, list(task.child_nurseries), self)

    def check(self, wait: LeaseWait) -> None:
        """Raise MemoryDeadlockError if the holder of what *wait* wants waits, directly or not, for *wait*."""
        first = self._holder(wait)
        if first in wait.within:
            problem = "it is held by the block that this call is part of, until the call has returned"
            raise MemoryDeadlockError(wait.path, problem)
        seen = [first] if first is not None else []
        for holder in seen:
            for other in self.waits:
                after = self._holder(other) if holder in other.within else None
                if after in wait.within:
                    problem = f"its holder waits for {after.path!r}, which the block that this call is part of holds"
                    raise MemoryDeadlockError(wait.path, problem)
                if after is not None and after not in seen:
                    seen.append(after)

    def knows_holder(self, wait: LeaseWait) -> bool:
        """Whether a task of this trio run holds the memory that *wait* wants."""
        return self._holder(wait) is not None

    def _holder(self, wait: LeaseWait) -> Holding | None:
        holder = self.by_path.get(wait.path)
        if holder is None and wait.identity is not None:
            holder = self.by_identity.get(wait.identity)
        return holder


_innermost: ContextVar[Holding | None] = ContextVar("trioagent_memory_holding", default=None)


def _held_here() -> list[Holding]:
    """The holdings that cannot end before this task, or the call in it, has ended."""
    held, holding = [], _innermost.get()
    while holding is not None:
        if not holding.released and _is_waited_for(trio.lowlevel.current_task(), holding):
            held.append(holding)
        holding = holding.outer
    return held


def _is_waited_for(task: trio.lowlevel.Task, holding: Holding) -> bool:
    """Whether *holding*, whose context *task* has inherited, cannot end before the task.

    That is true in the task that holds and in nurseries opened since, and for a call that returns from a thread as a
    system task, outside the holder's task tree.
    """
    below: trio.Nursery | None = None
    for above, nursery in _tasks_above(task):
        if above is holding.task:
            return below is None or all(below is not before for before in holding.nurseries)
        below = nursery
    return _tree(task) is not _tree(holding.task)


def _tasks_above(task: trio.lowlevel.Task) -> Iterator[tuple[trio.lowlevel.Task, trio.Nursery | None]]:
    """The task and all above it, each with the nursery that it runs in."""
    above: trio.lowlevel.Task | None = task
    while above is not None:
        yield above, above.parent_nursery
        above = None if above.parent_nursery is None else above.parent_nursery.parent_task


def _tree(task: trio.lowlevel.Task) -> trio.Nursery | None:
    """One of the two nurseries of trio's own root task: that of the program, or that of system tasks."""
    nurseries = [nursery for _, nursery in _tasks_above(task) if nursery is not None]
    return nurseries[-1] if nurseries else None
