"""Runs a batch in a process of its own, which may kill itself at one of its journal writes.

Usage: batch_child.py BASE_URL RUN_DIR MEMORIES JOBS DIE_AT before|after
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path

import trio

from tests.journal_writes import watched_connect
from trioagent._config import BatchConfig, ModelConfig
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
    count, counts = 0, not of_jobs

    def before(sql: str, values: object) -> None:
        nonlocal count, counts
        counts = counts or "FROM jobs WHERE id = ?" in sql
        count += counts and sql == "COMMIT"
        if count == write and sql == "COMMIT" and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)

    def after(sql: str, values: object) -> None:
        if count == write and sql == "COMMIT" and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    sqlite3.connect = watched_connect(before, after)  # type: ignore[assignment]


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
