"""A batch under fire (see `tests.slow.chaos`); the long one is ``python -m benchmarks.chaos --minutes 30``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .chaos import Plan, run_chaos

pytestmark = pytest.mark.real

SECONDS = 45.0  # three quarters of them disturbed; what is under way after those is let through


async def test_chaos(tmp_path: Path) -> None:
    plan = Plan(seconds=0.75 * SECONDS, steady_seconds=0.25 * SECONDS, steady_jobs=60)
    figures = await run_chaos(plan, tmp_path)
    for figure, measured, wanted in figures.rows():
        print(f"{figure:<62} {measured:>30} {wanted:>10}")
    assert figures.violations() == []
    # It was chaos indeed.
    assert figures.kill_seconds and figures.step_kills and figures.inner_cancel_seconds and figures.resumes
    assert sum(figures.server["served"].values()) > figures.jobs
    assert all(figures.server["served"][f"right, {how}"] for how in ("cut by the token limit", "without its <think>"))
