"""How a cost grows: the exponent of a power law through measured points."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

Points = Sequence[tuple[float, float]]


def exponent(points: Points) -> float:
    """The b of the y = a * x^b that fits best, by least squares of the logarithms: 0 is flat, 1 linear, 2 quadratic.

    Raises:
        ValueError: there are not two different x, or a value is not above 0.
    """
    if len({x for x, _ in points}) < 2 or any(x <= 0 or y <= 0 for x, y in points):
        raise ValueError(f"an exponent needs two points of different x, all above 0, not {list(points)}")
    logs = [(log(x), log(y)) for x, y in points]
    mean_x, mean_y = sum(x for x, _ in logs) / len(logs), sum(y for _, y in logs) / len(logs)
    shared = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return shared / sum((x - mean_x) * (x - mean_x) for x, _ in logs)


def last_exponent(points: Points) -> float:
    """The exponent between the two largest x: there the fixed cost is small, so this predicts the growth."""
    return exponent(sorted(points)[-2:])
