"""Cancelling an async function at each of its checkpoints in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def cancel_at_every_checkpoint(
    body: Callable[[], Awaitable[object]],
    *,
    after_each: Callable[[], Awaitable[object]] | None = None,
    rounds: int = 10_000,
) -> int:
    """Run *body* repeatedly, cancelled a little later each time, until a run ends before its cancellation.

    The steps of the body's task and of all tasks below it are counted. Each count gets two runs: one cancelled while
    the task waits at that checkpoint, and one cancelled as it wakes up, which takes effect there or at the next one.

    Args:
        body: what to run; it must be able to run many times.
        after_each: run (uncancelled) after each run, to check that nothing is left.
        rounds: give up with ``AssertionError`` after so many runs.

    Returns:
        How many runs were cancelled.

    Any exception except ``Cancelled`` of *body* or *after_each* is raised, with a note that says where it was
    cancelled.
    """
    for run in range(rounds):
        stopper = _Stopper(step=run // 2 + 1, waking=bool(run % 2))
        trio.lowlevel.add_instrument(stopper)
        try:
            with stopper.scope:
                await body()
        except Exception as error:
            error.add_note(f"cancelled {stopper}")
            raise
        finally:
            trio.lowlevel.remove_instrument(stopper)
        try:
            if after_each is not None:
                await after_each()
        except Exception as error:
            error.add_note(f"after a run cancelled {stopper}")
            raise
        if not stopper.fired:
            return run
    raise AssertionError(f"the body still had checkpoints left after {rounds} runs")


class _Stopper(trio.abc.Instrument):
    """Cancels its scope at one step of the current task or a task below it."""

    def __init__(self, *, step: int, waking: bool) -> None:
        self.scope = trio.CancelScope()
        self.fired = False
        self._step, self._waking = step, waking
        self._tasks = {trio.lowlevel.current_task()}
        self._seen = 0

    def __str__(self) -> str:
        return f"{'after' if self._waking else 'in'} checkpoint {self._step}"

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.parent_nursery is not None and task.parent_nursery.parent_task in self._tasks:
            self._tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._tasks.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self._tasks:
            self._seen += 1
            self._fire_if(self._seen == self._step and not self._waking)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self._tasks:
            self._fire_if(self._seen == self._step and self._waking)

    def _fire_if(self, now: bool) -> None:
        if now and not self.fired:
            self.fired = True
            self.scope.cancel()
