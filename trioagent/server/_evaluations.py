"""Evaluations for the page: scores by category, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import attrs

from .._errors import InvalidInputError
from .._runs import FAILURES
from ..evals import SAMPLES, Comparison, EvalScores, compare_runs, read_scores

_Stamp = tuple[tuple[int, int], ...]  # of the files that are read: modification time and size


@attrs.frozen(kw_only=True)
class EvaluationQuery:
    """
    Attributes:
        other: the name of the run to compare with.
    """

    other: str


@attrs.frozen(kw_only=True)
class EvalComparison:
    """Two evaluations, on the samples that both have graded.

    Attributes:
        total: all of these samples.
        categories: by name.
    """

    total: Comparison
    categories: Mapping[str, Comparison]


def scores(run_dir: Path) -> EvalScores:
    """The scores of an evaluation. Intervals are resampled if rows have changed, so call it in a worker thread.

    Raises:
        InvalidInputError: the run is not an evaluation.
    """
    with _by_name(run_dir):
        return _scores(run_dir, _stamp(run_dir))


def comparison(first: Path, second: Path) -> EvalComparison:
    """Compare two evaluations. Call it in a worker thread.

    Raises:
        InvalidInputError: one is not an evaluation, or they cannot be compared.
    """
    with _by_name(first, second):
        return _comparison(first, second, _stamp(first) + _stamp(second))


@contextmanager
def _by_name(*run_dirs: Path) -> Iterator[None]:
    """Errors name the runs, not their paths, which clients should not see."""
    try:
        yield
    except InvalidInputError as error:
        problem = error.problem
        for run_dir in run_dirs:
            problem = problem.replace(repr(str(run_dir)), repr(run_dir.name))
        raise InvalidInputError(error.what, problem) from None


@lru_cache(maxsize=32)
def _scores(run_dir: Path, stamp: _Stamp) -> EvalScores:
    return read_scores(run_dir)


@lru_cache(maxsize=32)
def _comparison(first: Path, second: Path, stamp: _Stamp) -> EvalComparison:
    total, categories = compare_runs(first, second)
    return EvalComparison(total=total, categories=categories)


def _stamp(run_dir: Path) -> _Stamp:
    found = []
    for name in (SAMPLES, FAILURES):
        try:
            stat = (run_dir / name).stat()
        except FileNotFoundError:
            found.append((0, 0))
        else:
            found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)
