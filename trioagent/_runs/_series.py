"""The course of a run over time: a few hundred samples, however long it takes, in a file for plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ._progress import Progress

SERIES = "series.json"
MOST_SAMPLES = 400


@attrs.frozen(kw_only=True)
class RunSeries:
    """Samples in order; all lists have equal lengths.

    Attributes:
        seconds: of running time, over all starts.
        done, failed: jobs ended until then.
        running: jobs at that time; *held* of them wait for an unavailable server, or for a full disk.
        in_flight: requests.
        tokens, cost: spent until then.
    """

    seconds: Sequence[float] = ()
    done: Sequence[int] = ()
    failed: Sequence[int] = ()
    running: Sequence[int] = ()
    held: Sequence[int] = ()
    in_flight: Sequence[int] = ()
    tokens: Sequence[int] = ()
    cost: Sequence[float] = ()


_COLUMNS = tuple(field.name for field in attrs.fields(RunSeries))
_ADDED_UP = ("seconds", "done", "failed")  # a progress has those of one start, a series those of all starts


class SeriesLog:
    """Collects the samples of one start, after those of earlier starts.

    When there are too many, every second one is dropped, and from then on half as many are taken.

    Args:
        before: the samples of earlier starts.
    """

    def __init__(self, before: RunSeries) -> None:
        self._samples: list[tuple[float, ...]] = list(zip(*attrs.astuple(before, recurse=False), strict=True))
        self._base = self._samples[-1][: len(_ADDED_UP)] if self._samples else (0,) * len(_ADDED_UP)
        self._thin_out()

    def add(self, progress: Progress, *, last: bool = False) -> bool:
        """Take a sample, if it is due, or it is the *last*; returns whether one was taken."""
        now = (progress.seconds, progress.done, progress.failed)
        sample = (
            *(base + value for base, value in zip(self._base, now, strict=True)),
            progress.running,
            progress.states.get("held", 0),
            sum(endpoint.in_flight for endpoint in progress.endpoints),
            progress.tokens_total,
            progress.cost_total,
        )
        if self._samples and sample[0] - self._samples[-1][0] < self._pause() and not last:
            return False
        self._samples.append(sample)
        self._thin_out()
        return True

    def series(self) -> RunSeries:
        """All samples."""
        columns = zip(*self._samples, strict=True) if self._samples else [()] * len(_COLUMNS)
        return RunSeries(**{name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)})

    def _pause(self) -> float:
        """Seconds between two samples, so that the present ones fill half of the room."""
        return max(0.9, 2 * self._samples[-1][0] / MOST_SAMPLES) if self._samples else 0.0

    def _thin_out(self) -> None:
        if len(self._samples) > MOST_SAMPLES:
            self._samples = [*self._samples[:-1:2], self._samples[-1]]


def encode_series(series: RunSeries) -> Mapping[str, Any]:
    """The series in the file's format."""
    rounded = [round(value, 3) for value in series.seconds]
    return {**attrs.asdict(series), "seconds": rounded}


def read_series(run_dir: Path) -> RunSeries:
    """The series in a run's file; an empty series if there is none, or it is damaged. Synchronous."""
    try:
        value = json.loads((run_dir / SERIES).read_text(encoding="utf-8"))
        columns = {name: list(value[name]) for name in _COLUMNS}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return RunSeries()
    numbers = all(type(item) in (int, float) for column in columns.values() for item in column)
    alike = len({len(column) for column in columns.values()}) == 1
    return RunSeries(**columns) if numbers and alike else RunSeries()
