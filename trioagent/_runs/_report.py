"""The report of a run, and the state of a run for outside readers."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from .._files import user_path
from .._remote import ClusterUse
from ._journal import Journal
from ._lock import is_running
from ._outputs import REPORT, STATUS, write_json
from ._progress import Progress
from ._reader import JournalReader
from ._series import SERIES, SeriesLog, encode_series, read_series
from ._spending import Spending

StopCause = Literal["", "asked", "budget", "outage", "quota", "refused", "disk"]
"""Why a run ends before its jobs do: it was told to (Ctrl-C, `stop`, ``trioagent ctl stop``); its budget is used up; a
server stays unavailable, has no quota left for it, or refuses every request; the disk stays full. "": it does not."""
Stopped = StopCause | Literal["limit", "cancelled"]


MERGED = "merged shards"
"""The kind of jobs in the journal of a folder of merged shards."""
STARTS = "starts"
END = "end"
"""In the record of the starts: how the last one ended; missing while it runs, and if it was killed."""


@attrs.frozen(kw_only=True)
class FailureCause:
    """A cause of failures and its count: an error's type (with a server's status), and one job with its message."""

    cause: str
    count: int
    example: str
    message: str


@attrs.frozen(kw_only=True)
class RunTotals:
    """The totals of all starts with one run directory, including this one.

    Attributes:
        starts: how many there were.
        done, failed, no_reply: jobs by their final state; *no_reply* are among those that are done.
        left: jobs that were begun and can be resumed.
        tokens, cost: spent.
        seconds: wall time; of a start that was killed up to its last ``status.json``.
        seconds_by_state: the time of all jobs by state; unknown for starts that were killed.
    """

    starts: int
    done: int
    failed: int
    no_reply: int
    left: int
    tokens: int
    cost: float
    seconds: float
    seconds_by_state: Mapping[str, float]


@attrs.frozen(kw_only=True)
class BatchReport:
    """The result of a run.

    Attributes:
        done, failed: jobs that this start ended.
        skipped: jobs that earlier starts had ended.
        skipped_failed: how many of these had failed; they are retried if ``retry_failed`` is set.
        no_reply, skipped_no_reply: how many of the done jobs (in this start, in earlier ones) left a message
            without a reply; their rows say why (``stop_reasons``), and ``retry_failed`` retries them.
        left: jobs that were begun and are resumed when the batch is run again.
        not_begun: jobs of the input that this start did not begin; None if their number is unknown.
        causes: why jobs of this start failed, the most frequent first.
        stopped: why the run ended before its input, or left jobs to be resumed: "" (it did not), "asked",
            "budget", "outage" (a model's server was unavailable for longer than ``outage_patience``), "quota" (money or
            an allowance at the server is used up), "refused" (the server refuses everything: a wrong key or model),
            "disk" (it was full for longer than ``outage_patience``), "limit", or "cancelled" (it was cancelled, or
            ended with an error).
        reason: the same for people, with details.
        tokens, cost: spent by this start.
        tokens_total, cost_total: spent by all starts of this directory.
        seconds: wall time of this start.
        seconds_by_state: the time of all jobs by state.
        run_dir: where the outputs are.
        all_starts: the totals of all starts with this run directory; None if the journal could not be read at the end.
        cluster: what the cluster did for this start; None if it had none.
    """

    done: int
    failed: int
    skipped: int
    skipped_failed: int
    no_reply: int
    skipped_no_reply: int
    left: int
    not_begun: int | None
    causes: tuple[FailureCause, ...]
    stopped: Stopped
    reason: str
    tokens: int
    cost: float
    tokens_total: int
    cost_total: float
    seconds: float
    seconds_by_state: Mapping[str, float]
    run_dir: str
    all_starts: RunTotals | None = None
    cluster: ClusterUse | None = None


def nothing_run(run_dir: Path, total: int | None, stopped: Stopped, reason: str) -> BatchReport:
    """The report of a run that could not begin."""
    return BatchReport(
        done=0,
        failed=0,
        skipped=0,
        skipped_failed=0,
        no_reply=0,
        skipped_no_reply=0,
        left=0,
        not_begun=total,
        causes=(),
        stopped=stopped,
        reason=reason,
        tokens=0,
        cost=0.0,
        tokens_total=0,
        cost_total=0.0,
        seconds=0.0,
        seconds_by_state={},
        run_dir=str(run_dir),
    )


async def count_start(journal: Journal) -> None:
    """Journal that a run starts, and how long the previous start ran if it was killed."""
    before = await journal.read_meta(STARTS) or {}
    last = await trio.to_thread.run_sync(_read_json, journal.path.with_name(STATUS))
    seconds = before.get("seconds", 0.0)
    if before and last is not None and not last.get("ended"):
        seconds += last["progress"]["seconds"]
    starts = {**before, "starts": before.get("starts", 0) + 1, "seconds": seconds}
    starts.pop(END, None)
    await journal.write_meta({STARTS: starts})


async def with_totals(journal: Journal, report: BatchReport, input_digest: str | None) -> BatchReport:
    """*report* with the totals of all starts, which are journaled with this start's end and its input."""
    before = await journal.read_meta(STARTS) or {}
    seconds = before.get("seconds", 0.0) + report.seconds
    states = Counter(before.get("seconds_by_state", {}))
    states.update(report.seconds_by_state)
    starts = before.get("starts", 1)
    record = {"starts": starts, "seconds": seconds, "seconds_by_state": dict(states)}
    end = {"stopped": report.stopped, "not_begun": report.not_begun, "input": input_digest}
    await journal.write_meta({STARTS: {**record, END: end}})
    counts = await journal.counts()
    totals = RunTotals(
        starts=starts,
        done=counts.get("done", 0),
        failed=counts.get("failed", 0),
        no_reply=counts.get("no_reply", 0),
        left=counts.get("running", 0),
        tokens=report.tokens_total,
        cost=report.cost_total,
        seconds=seconds,
        seconds_by_state=dict(states),
    )
    return attrs.evolve(report, all_starts=totals)


class StatusFile:
    """``status.json``: the state of the run, for outside readers; and ``series.json``: its course so far.

    Synchronous; for a worker thread.
    """

    def __init__(self, run_dir: Path, model: str) -> None:
        self._path, self._model = run_dir / STATUS, model
        self._began = time.time()
        self._series: SeriesLog | None = None

    def write(self, progress: Progress, *, ended: bool = False) -> None:
        body = {
            "pid": os.getpid(),
            "model": self._model,
            "began": self._began,
            "written": time.time(),
            "ended": ended,
            "progress": attrs.asdict(progress),
        }
        write_json(self._path, body)
        if self._series is None:
            self._series = SeriesLog(read_series(self._path.parent))
        if self._series.add(progress, last=ended):
            write_json(self._path.with_name(SERIES), encode_series(self._series.series()))


@attrs.frozen(kw_only=True)
class RunStatus:
    """The state of a run directory, read from outside.

    Attributes:
        running: a process runs this batch right now.
        counts: jobs by state ("done", "failed", "running": begun and not ended), from the journal.
        spent: by all starts, from the journal.
        last: the contents of ``status.json`` (``pid``, ``model``, ``began``, ``written``, ``ended``, ``progress``).
        report: of the last start that ended, if none has begun since.
        merged: it consists of merged shards, and is not a run of its own; *report* is that of the merge then.
    """

    run_dir: str
    running: bool
    counts: Mapping[str, int]
    spent: Spending
    last: Mapping[str, Any] | None
    report: Mapping[str, Any] | None
    merged: bool = False


def read_run_status(run_dir: str | Path) -> RunStatus:
    """Read the state of a run that is active, has ended, or was killed. Synchronous; writes nothing.

    Raises:
        InvalidInputError: nothing was run in that directory.
        JournalError: the journal cannot be read.
    """
    run_dir = user_path(run_dir, "run_dir")
    with JournalReader(run_dir) as journal:
        counts, spent, merged = journal.counts(), journal.spent(), journal.holds() == MERGED
    last, running = _read_json(run_dir / STATUS), is_running(run_dir)
    has_report = merged or (last is not None and last.get("ended") and not running)
    return RunStatus(
        run_dir=str(run_dir),
        running=running,
        counts=counts,
        spent=spent,
        last=last,
        report=_read_json(run_dir / REPORT) if has_report else None,
        merged=merged,
    )


def _read_json(path: Path) -> Mapping[str, Any] | None:
    """A small file of ours; None if it does not exist, or is not ours."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
