"""A batch under fire (see `tests.slow.chaos`); the long one is ``python -m benchmarks.chaos --minutes 30``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .chaos import Plan, run_chaos

pytestmark = pytest.mark.real

SECONDS = 30.0  # of disturbance; what is under way then is let through, which takes some seconds more


async def test_chaos(tmp_path: Path) -> None:
    plan = Plan(seconds=SECONDS, steady_seconds=SECONDS / 4, steady_jobs=60)
    figures = await run_chaos(plan, tmp_path)
    for figure, measured, wanted in figures.rows():
        print(f"{figure:<62} {measured:>30} {wanted:>10}")
    assert figures.violations() == []
    # It was chaos indeed.
    assert figures.kill_seconds and figures.step_kills and figures.inner_cancel_seconds and figures.resumes
    assert sum(figures.server["served"].values()) > figures.jobs
