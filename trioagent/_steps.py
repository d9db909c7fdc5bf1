"""Work proportional to foreign input, in steps, so that the event loop is never blocked for long.

No work proportional to input from a block, a folder, a model or a server runs on the event loop in one step: a step
takes at most `STEP_BYTES` of foreign bytes (or characters) or `STEP_NAMES` foreign names (or values). Work of several
steps is a generator that yields between them. A thread alone does not help: one call of ``json.loads``, ``re`` or
``compile`` holds the interpreter lock until it ends, but work in steps releases it in between.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import trio

STEP_BYTES = 256 * 1024
STEP_NAMES = 1000

T = TypeVar("T")

Steps = Generator[None, None, T]


async def run_steps(steps: Steps[T]) -> T:
    """Run *steps* and return its value; other tasks run between two steps.

    Cancelling: between two steps; the rest is not run.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result  # noqa: ASYNC910 - one step is worth no checkpoint
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            steps.close()
            raise


def run_all_steps(steps: Steps[T]) -> T:
    """Run *steps* at once: in a thread, or where no event loop runs."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
