"""Intervals and tests against published or worked-out numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.evals import compare_scores, confidence_interval


def test_wilson() -> None:
    # 81 of 263: the worked example of Newcombe (1998), method 3
    low, high = confidence_interval([1.0] * 81 + [0.0] * 182)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = confidence_interval([0.0] * 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)


def test_nothing_is_known_of_no_samples() -> None:
    assert confidence_interval([]) == (0.0, 1.0)


def test_bootstrap_of_the_mean_is_near_the_normal_one() -> None:
    scores = [number / 100 for number in range(101)]
    low, high = confidence_interval(scores)
    half = 1.96 * 0.2915 / 101**0.5  # the standard deviation of 0, 0.01, ..., 1
    assert low == pytest.approx(0.5 - half, abs=0.01)
    assert high == pytest.approx(0.5 + half, abs=0.01)
    assert confidence_interval(scores) == (low, high)


def test_mcnemar() -> None:
    # 1 against 9: 2 * (1 + 10) / 2**10
    first, second = [1.0] + [0.0] * 9 + [1.0] * 5, [0.0] + [1.0] * 9 + [1.0] * 5
    compared = compare_scores(first, second)
    assert (compared.only_first, compared.only_second) == (1, 9)
    assert compared.p_mcnemar == pytest.approx(22 / 1024)
    assert compared.difference == pytest.approx(8 / 15)
    assert compared.low > 0
    assert compared.p_bootstrap < 0.05


def test_equal_runs_do_not_differ() -> None:
    compared = compare_scores([1.0, 0.0, 0.5], [1.0, 0.0, 0.5])
    assert (compared.difference, compared.low, compared.high) == (0, 0, 0)
    assert (compared.p_bootstrap, compared.p_mcnemar) == (1, 1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_other_way_round_it_is_the_opposite(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one, other = compare_scores(first, second), compare_scores(second, first)
    assert one.difference == pytest.approx(-other.difference)
    assert one.low == pytest.approx(-other.high)
    assert one.p_mcnemar == other.p_mcnemar
    assert one.low - 1e-9 <= one.difference <= one.high + 1e-9 or len(pairs) < 5
