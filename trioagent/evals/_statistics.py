"""Confidence intervals of scores, and comparison of two runs. Pure and deterministic."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import attrs

_Z = 1.959963984540054  # of 95 %
_RESAMPLES = 2000


def confidence_interval(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean: Wilson's if all scores are 0 or 1, else by a percentile bootstrap."""
    if not scores:
        return 0.0, 1.0
    if all(score in (0.0, 1.0) for score in scores):
        return _wilson(sum(scores), len(scores))
    return _percentiles(_resampled_means(scores))


def _wilson(right: float, count: int) -> tuple[float, float]:
    rate, square = right / count, _Z * _Z
    middle = (rate + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(rate * (1 - rate) / count + square / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


@attrs.frozen(kw_only=True)
class Comparison:
    """Two runs on the same samples.

    Attributes:
        samples: that both have.
        first, second: the mean scores.
        difference: second minus first, and *low* and *high*, its 95 % interval by a paired bootstrap.
        p_bootstrap: how often a resampled difference has the other sign, two-sided.
        only_first, only_second: samples that only one of them has right (a score of at least one half).
        p_mcnemar: of the exact McNemar test on these.
    """

    samples: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    only_first: int
    only_second: int
    p_mcnemar: float


def compare_scores(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare scores of the same samples in the same order; at least one."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    means = _resampled_means(differences)
    low, high = _percentiles(means)
    below, above = sum(mean <= 0 for mean in means), sum(mean >= 0 for mean in means)
    only_first = sum(a >= 0.5 > b for a, b in zip(first, second, strict=True))
    only_second = sum(b >= 0.5 > a for a, b in zip(first, second, strict=True))
    return Comparison(
        samples=len(first),
        first=math.fsum(first) / len(first),
        second=math.fsum(second) / len(second),
        difference=math.fsum(differences) / len(differences),
        low=low,
        high=high,
        p_bootstrap=min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1)),
        only_first=only_first,
        only_second=only_second,
        p_mcnemar=_mcnemar(only_first, only_second),
    )


def _mcnemar(first: int, second: int) -> float:
    """Two-sided: the probability of as many heads or fewer in so many throws of a fair coin."""
    count, fewer = first + second, min(first, second)
    tail = sum(math.comb(count, heads) for heads in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**count)) if count < 1000 else _normal_tail(first, second)


def _normal_tail(first: int, second: int) -> float:
    return math.erfc(max(0.0, abs(first - second) - 1) / math.sqrt(first + second) / math.sqrt(2))


def _resampled_means(values: Sequence[float]) -> list[float]:
    chooser = random.Random(0)
    size = len(values)
    return sorted(math.fsum(chooser.choices(values, k=size)) / size for _ in range(_RESAMPLES))


def _percentiles(means: Sequence[float]) -> tuple[float, float]:
    edge = round(len(means) * 0.025)
    return means[edge], means[len(means) - 1 - edge]
