"""Runs a batch in a process of its own, which may kill itself at one of its journal writes.

Usage: batch_child.py BASE_URL RUN_DIR MEMORIES JOBS DIE_AT before|after
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from trioagent._config import BatchConfig, ModelConfig
from trioagent._runs._journal import Journal
from trioagent.batch import Job, run_batch
from trioagent.runtime import open_runtime


def jobs(memories: Path, count: int) -> list[Job]:
    return [
        Job(
            id=f"job-{number}",
            memory=str(memories / f"m{number}"),
            messages=["first message", "second message"],
            metadata={"number": number},
        )
        for number in range(count)
    ]


def die_at(write: int, when: str, *, of_jobs: bool = False) -> None:
    """Make the process kill itself before or after its journal write of that number.

    Args:
        of_jobs: count from the first job that begins: before, a run reads and writes what it is pinned to.
    """
    original: Callable[..., Any] = Journal._commit
    begin: Callable[..., Any] = Journal.begin
    count, counts = 0, not of_jobs

    def begin_and_count(self: Journal, job_id: str, digest: str) -> Any:
        nonlocal counts
        counts = True
        return begin(self, job_id, digest)

    def commit(self: Journal, group: list[Any]) -> None:
        nonlocal count
        count += counts
        if count == write and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, group)
        if count == write and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    Journal._commit = commit  # type: ignore[method-assign]
    Journal.begin = begin_and_count  # type: ignore[method-assign]


async def main(base_url: str, run_dir: str, memories: str, count: int, concurrent: int) -> None:
    config = ModelConfig(base_url=base_url, model="test")
    async with open_runtime(model=config) as runtime:
        await run_batch(
            jobs(Path(memories), count),
            runtime=runtime,
            run_dir=run_dir,
            config=BatchConfig(max_concurrent=concurrent),
        )


if __name__ == "__main__":
    base_url, run_dir, memories, count, concurrent, write, when = sys.argv[1:]
    if int(write):
        die_at(int(write), when)
    trio.run(main, base_url, run_dir, memories, int(count), int(concurrent))
