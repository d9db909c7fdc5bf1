"""The report of an evaluation: scores by category with their confidence, and two runs compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from .._errors import InvalidInputError
from .._files import write_whole
from .._runs import FAILURES, BatchReport
from ._statistics import Comparison, compare_scores, confidence_interval
from ._suite import Sample

SAMPLES = "samples.jsonl"
SUMMARY = "eval.json"


@attrs.frozen(kw_only=True)
class CategoryScore:
    """The samples of one category, or all of them.

    Attributes:
        samples: how many ended; *failed* of them without an answer, which counts as a score of 0.
        score: the mean, with the 95 % interval from *low* to *high* (Wilson's for scores of 0 and 1, else a bootstrap).
        correct: how many have a score of at least one half.
        tokens, turns, blocks, repairs, cuts, seconds, cost: means over the samples that were answered.
    """

    category: str
    samples: int
    failed: int
    correct: int
    score: float
    low: float
    high: float
    tokens: float
    turns: float
    blocks: float
    repairs: float
    cuts: float
    seconds: float
    cost: float


@attrs.frozen(kw_only=True)
class EvalReport:
    """The result of an evaluation.

    Attributes:
        model: "" if none was asked.
        categories: by name.
        total: all of them.
        set_up_tokens: the tokens of set-up conversations.
        unjudged: samples for which the judge gave no usable grade; they were graded without it.
        run: counts, spending and why the run ended, as of a batch; set-up conversations are jobs, too.
        samples_file, failures_file: the outputs.
    """

    suite: str
    model: str
    baseline: str
    categories: tuple[CategoryScore, ...]
    total: CategoryScore
    set_up_tokens: int
    unjudged: int
    run: BatchReport
    samples_file: str
    failures_file: str


def make_report(samples: Sequence[Sample], run: BatchReport, *, suite: str, model: str, baseline: str) -> EvalReport:
    """The report, which is written as ``eval.json`` too. Synchronous; for a worker thread."""
    run_dir = Path(run.run_dir)
    graded: dict[str, Mapping[str, Any]] = {}
    set_up_tokens = 0
    wanted = {sample.id: sample.category for sample in samples}
    for row in _rows(run_dir / SAMPLES):
        if row.get("kind") == "set-up":
            set_up_tokens += _tokens(row["usage"])
        elif row["id"] in wanted:
            graded[row["id"]] = row
    failed = {row["id"] for row in _rows(run_dir / FAILURES) if row["id"] in wanted} - graded.keys()
    categories = [
        _score(category, [key for key, of in wanted.items() if of == category], graded, failed)
        for category in sorted(set(wanted.values()))
    ]
    report = EvalReport(
        suite=suite,
        model=model,
        baseline=baseline,
        categories=tuple(category for category in categories if category.samples),
        total=_score("all", list(wanted), graded, failed),
        set_up_tokens=set_up_tokens,
        unjudged=sum(bool(row.get("judge_problem")) for row in graded.values()),
        run=run,
        samples_file=str(run_dir / SAMPLES),
        failures_file=str(run_dir / FAILURES),
    )
    write_whole(run_dir / SUMMARY, json.dumps(attrs.asdict(report), indent=2).encode(), sync=False)
    return report


@attrs.frozen(kw_only=True)
class EvalScores:
    """The scores in the rows of an evaluation so far, also while it runs.

    Attributes:
        suite, model, baseline: "" if there is no row yet.
        categories: by name.
        total: all samples that have ended.
    """

    suite: str
    model: str
    baseline: str
    categories: tuple[CategoryScore, ...]
    total: CategoryScore


def read_scores(run_dir: Path) -> EvalScores:
    """The scores in a run directory. Synchronous, takes time proportional to its rows; for a worker thread.

    Raises:
        InvalidInputError: it contains no evaluation.
    """
    with _reading(run_dir):
        return _read_scores(run_dir)


@contextmanager
def _reading(*run_dirs: Path) -> Iterator[None]:
    """Rows that are not an evaluation's raise an error with an explanation, not one of Python's."""
    try:
        yield
    except InvalidInputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        names = " or ".join(repr(str(run_dir)) for run_dir in run_dirs)
        problem = f"rows in {names} are not those of an evaluation ({type(error).__name__}: {error})"
        raise InvalidInputError("run", problem) from error


def _read_scores(run_dir: Path) -> EvalScores:
    graded = _graded(run_dir)
    failed = {
        str(row["id"]): row
        for row in _rows(run_dir / FAILURES)
        if row.get("kind") == "sample" and str(row["id"]) not in graded
    }
    rows = {**graded, **failed}
    by_category: dict[str, list[str]] = {}
    for key, row in rows.items():
        by_category.setdefault(str(row.get("category", "")), []).append(key)
    one = next(iter(rows.values()), {})
    return EvalScores(
        suite=str(one.get("suite", "")),
        model=str(one.get("model", "")),
        baseline=str(one.get("baseline", "")),
        categories=tuple(_score(name, by_category[name], graded, set(failed)) for name in sorted(by_category)),
        total=_score("all", list(rows), graded, set(failed)),
    )


def _score(
    category: str, keys: Sequence[str], graded: Mapping[str, Mapping[str, Any]], failed: set[str]
) -> CategoryScore:
    rows = [graded[key] for key in keys if key in graded]
    failures = sum(key in failed for key in keys)
    scores = [float(row["score"]) for row in rows] + [0.0] * failures
    low, high = confidence_interval(scores)

    def mean(values: Iterable[float]) -> float:
        return math.fsum(values) / len(rows) if rows else 0.0

    return CategoryScore(
        category=category,
        samples=len(scores),
        failed=failures,
        correct=sum(score >= 0.5 for score in scores),
        score=math.fsum(scores) / len(scores) if scores else 0.0,
        low=low,
        high=high,
        tokens=mean(_tokens(row["usage"]) for row in rows),
        turns=mean(row["turns"] for row in rows),
        blocks=mean(row["blocks"] for row in rows),
        repairs=mean(sum(row["repairs"].values()) for row in rows),
        cuts=mean(row["cuts"] for row in rows),
        seconds=mean(row["seconds"] for row in rows),
        cost=mean(row["usage"]["cost"] for row in rows),
    )


def _tokens(usage: Mapping[str, Any]) -> int:
    return int(usage["prompt_tokens"]) + int(usage["completion_tokens"])


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of an output file, none if there is none; without a last row that is incomplete."""
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def compare_runs(first: Path, second: Path) -> tuple[Comparison, dict[str, Comparison]]:
    """Compare two evaluations on the samples that both have graded; also by category.

    Raises:
        InvalidInputError: one is not an evaluation, they are of different suites or of different versions of one, or
            have no sample in common.
    """
    with _reading(first, second):
        return _compare(first, second)


def _compare(first: Path, second: Path) -> tuple[Comparison, dict[str, Comparison]]:
    a, b = _graded(first), _graded(second)
    suites = sorted({str(row["suite"]) for row in (*a.values(), *b.values())})
    if len(suites) > 1:
        raise InvalidInputError("runs", f"are of different suites: {' and '.join(suites)}")
    common = [key for key in a if key in b]
    if not common:
        raise InvalidInputError("runs", f"{str(first)!r} and {str(second)!r} have no graded sample in common")
    by_category: dict[str, list[str]] = {}
    for key in common:
        for part in ("said", "expected", "category"):
            if a[key].get(part) != b[key].get(part):
                problem = f"are of different versions of {suites[0]}: the sample {key!r} differs in {part!r}"
                raise InvalidInputError("runs", problem)
        by_category.setdefault(str(a[key]["category"]), []).append(key)

    def compared(keys: Sequence[str]) -> Comparison:
        return compare_scores([float(a[key]["score"]) for key in keys], [float(b[key]["score"]) for key in keys])

    return compared(common), {category: compared(keys) for category, keys in by_category.items()}


def samples_apart(first: Path, second: Path) -> tuple[int, int]:
    """How many samples only the first and only the second evaluation has graded, which `compare_runs` leaves out."""
    with _reading(first, second):
        a, b = _graded(first), _graded(second)
    return len(a.keys() - b.keys()), len(b.keys() - a.keys())


def _graded(run_dir: Path) -> dict[str, Mapping[str, Any]]:
    path = run_dir / SAMPLES
    if not path.is_file():
        raise InvalidInputError("run", f"{str(run_dir)!r} holds no evaluation: there is no {SAMPLES} in it")
    return {str(row["id"]): row for row in _rows(path) if row.get("kind") == "sample"}
