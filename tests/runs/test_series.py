"""Samples of a run over time: a few hundred whatever it takes, over all starts, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from trioagent._runs import RunSeries, read_series
from trioagent._runs._outputs import write_json
from trioagent._runs._progress import Progress
from trioagent._runs._report import StatusFile
from trioagent._runs._series import MOST_SAMPLES, SERIES, SeriesLog, encode_series

PROGRESS = Progress(
    total=None, skipped=0, done=0, failed=0, left=0, running=2, queued=None, states={"held": 1}, answers=0, tokens=0,
    cost=0.0, tokens_total=0, cost_total=0.0, max_tokens=None, max_cost=None, endpoints=(), outages=(), last_error="",
    last_error_seconds=None, seconds=0.0, eta_seconds=None, stragglers=(), stopping="",
)  # fmt: skip


def at(seconds: float, **values: Any) -> Progress:
    return attrs.evolve(PROGRESS, seconds=seconds, **values)


def test_a_long_run_has_few_samples_that_cover_all_of_it() -> None:
    log = SeriesLog(RunSeries())
    for second in range(10_000):
        log.add(at(float(second), done=second))
    series = log.series()
    assert MOST_SAMPLES / 3 < len(series.seconds) <= MOST_SAMPLES
    assert series.seconds[0] == 0.0
    assert 10_000 - series.seconds[-1] < 60
    assert list(series.done) == [int(second) for second in series.seconds]
    pauses = [later - earlier for earlier, later in zip(series.seconds, series.seconds[1:], strict=False)]
    assert max(pauses) < 150


def test_the_next_start_goes_on_where_the_last_one_ended() -> None:
    first = SeriesLog(RunSeries())
    first.add(at(0.0))
    first.add(at(5.0, done=3, failed=1, tokens_total=50), last=True)
    second = SeriesLog(first.series())
    second.add(at(0.5, done=1, tokens_total=60), last=True)
    series = second.series()
    assert (series.seconds, series.done, series.failed) == ([0.0, 5.0, 5.5], [0, 3, 4], [0, 1, 1])
    assert (series.tokens, series.held) == ([0, 50, 60], [1, 1, 1])


def test_the_file_is_written_with_the_status(tmp_path: Path) -> None:
    status = StatusFile(tmp_path, "a model")
    status.write(at(0.0))
    status.write(at(0.3, done=1))
    assert read_series(tmp_path).seconds == [0.0]
    status.write(at(0.6, done=2), ended=True)
    assert read_series(tmp_path).done == [0, 2]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": [1]}', None])
def test_a_damaged_file_is_an_empty_series(tmp_path: Path, content: str | None) -> None:
    whole = (
        encode_series(RunSeries(**{field.name: [1] for field in attrs.fields(RunSeries)})) if content is None else {}
    )
    if content is None:
        write_json(tmp_path / SERIES, {**whole, "done": ["many"]})
    else:
        (tmp_path / SERIES).write_text(content)
    assert read_series(tmp_path) == RunSeries()
    StatusFile(tmp_path, "a model").write(at(1.0))
    assert json.loads((tmp_path / SERIES).read_text())["seconds"] == [1.0]
