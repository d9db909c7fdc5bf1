"""``python -m benchmarks page [JOBS]``: how long the page takes to open a run, in the installed Chromium."""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.browser.chromium import Browser, missing, open_browser
from tests.browser.page_server import page_server
from tests.runs.support import DONE, failed_outcome
from trioagent._runs._journal import open_journal

_TIMES = 5


def main(jobs: int = 100_000) -> None:
    if problem := missing():
        raise SystemExit(problem)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        write_run(run_dir, jobs)
        with page_server(None, runs=run_dir) as link, open_browser() as browser:
            found = [seconds_to_open(browser, link) for _ in range(_TIMES)]
            browser.leave()
    rows, causes = (sorted(times) for times in zip(*found, strict=True))
    print(f"{jobs:,} jobs, {_TIMES} times, seconds from the link to")
    for name, times in (("the first rows", rows), ("all failures by cause", causes)):
        print(f"  {name}: median {statistics.median(times):.2f}, worst {times[-1]:.2f}")


def write_run(run_dir: Path, jobs: int) -> None:
    """A journal with so many jobs, each tenth of them failed."""

    async def begin() -> None:
        async with open_journal(run_dir):
            pass

    trio.run(begin)
    done, failed = json.dumps(DONE), [json.dumps(failed_outcome(number)) for number in range(3)]
    rows = (
        (f"job-{number:06}", *(("failed", failed[number // 10 % 3]) if number % 10 == 3 else ("done", done)))
        for number in range(jobs)
    )
    connection = sqlite3.connect(run_dir / "journal.db")
    with connection:
        insert = "INSERT INTO jobs (id, digest, state, attempts, outcome) VALUES (?, 'd', ?, 1, ?)"
        connection.executemany(insert, rows)
    connection.close()


def seconds_to_open(browser: Browser, link: str) -> tuple[float, float]:
    """From the first request to the first rows of the list, and to the causes."""
    browser.leave()
    began = time.perf_counter()
    browser.driver.get(link)
    browser.wait(lambda: browser.texts("[role=option] .id"))
    rows = time.perf_counter() - began
    browser.wait(lambda: browser.texts(".cause"))
    return rows, time.perf_counter() - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
