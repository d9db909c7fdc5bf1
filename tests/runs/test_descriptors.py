"""How many agents fit into so many file descriptors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._runs._descriptors import BLOCK, RESERVE
from trioagent.batch import fit_to_descriptors


@pytest.mark.parametrize(
    ("asked", "limit", "models", "episodes", "idle"),
    [
        (1000, math.inf, 1, 1000, 1000),
        (1000, 20_000, 1, 1000, 1000),
        (1000, 1024, 1, 565, 283),
        (100, 1024, 1, 100, 100),
        (1000, 1024, 3, 565, 94),
        (1000, 256, 1, 53, 27),
        (10, 64, 1, 1, 0),
    ],
)
def test_known_cases(asked: int, limit: float, models: int, episodes: int, idle: int) -> None:
    found = fit_to_descriptors(asked, limit, blocks=8, models=models)
    assert (found.max_concurrent, found.max_idle) == (episodes, idle)


@given(
    asked=st.integers(1, 10_000),
    limit=st.integers(0, 20_000),
    blocks=st.integers(1, 32),
    models=st.integers(1, 20),
)
def test_it_always_fits(asked: int, limit: int, blocks: int, models: int) -> None:
    found = fit_to_descriptors(asked, limit, blocks=blocks, models=models)
    fixed = RESERVE + BLOCK * blocks
    assert 1 <= found.max_concurrent <= asked
    assert 0 <= found.max_idle <= asked
    assert found.descriptors == fixed + found.max_concurrent + models * found.max_idle
    assert found.descriptors <= max(limit, fixed + 1)
    if limit >= fixed + asked * (1 + models):
        assert found.max_concurrent == asked
