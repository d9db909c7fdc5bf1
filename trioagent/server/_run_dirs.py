"""The run directories that the server shows, by name, and the state of each run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .._runs import FailureCause, read_run_status, takes_commands
from ..evals import SAMPLES
from ._memories import NAME
from ._request_error import RequestError

_JOURNAL = "journal.db"


@attrs.frozen(kw_only=True)
class RunView:
    """The state of a run.

    Attributes:
        running: a process is running it right now.
        takes_commands: that process accepts commands.
        counts: jobs by state: "running" (begun and not ended), "done", "failed".
        tokens, cost: spent by all starts.
        last: the progress that the run wrote last, once a second: ``pid``, ``model``, ``began``, ``written``,
            ``ended``, ``progress``; null if it wrote none.
        report: the report of the last start, if it ended and none has begun since; or null.
        graded: it is an evaluation, whose samples have scores.
    """

    name: str
    running: bool
    takes_commands: bool
    counts: Mapping[str, int]
    tokens: int
    cost: float
    last: Mapping[str, Any] | None
    report: Mapping[str, Any] | None
    graded: bool = False


@attrs.frozen
class Failures:
    """Why jobs failed, the most frequent cause first."""

    causes: Sequence[FailureCause]


class RunDirectories:
    """Run directories below one folder.

    Args:
        root: a run directory, or a folder that contains run directories; None for none.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def names(self) -> list[str]:
        """The names of all runs, sorted."""
        if self._root is None:
            return []
        if (single := self._single()) is not None:
            return [single]
        with os.scandir(self._root) as entries:
            names = [entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir()]
        return sorted(name for name in names if (self._root / name / _JOURNAL).is_file())

    def graded(self) -> list[str]:
        """The names of those that are evaluations."""
        return [name for name in self.names() if (self.path(name) / SAMPLES).is_file()]

    def path(self, name: str) -> Path:
        """The directory of the run of this name.

        Raises:
            RequestError: there is none.
        """
        if self._root is not None and NAME.fullmatch(name):
            single = self._single()
            path = self._root if single is not None else self._root / name
            if single in (None, name) and (path / _JOURNAL).is_file():
                return path
        raise RequestError(404, "unknown_run", f"there is no run {name!r:.100}", "see /api/runs for their names")

    def _single(self) -> str | None:
        if self._root is None or not (self._root / _JOURNAL).is_file():
            return None
        return self._root.name if NAME.fullmatch(self._root.name) else "run"


def read_run(name: str, path: Path) -> RunView:
    """The state of the run in a directory."""
    status = read_run_status(path)
    return RunView(
        name=name,
        running=status.running,
        takes_commands=status.running and takes_commands(path),
        counts=status.counts,
        tokens=status.spent.total_tokens,
        cost=status.spent.cost,
        last=status.last,
        report=status.report,
        graded=(path / SAMPLES).is_file(),
    )
