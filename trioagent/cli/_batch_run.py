"""Run a batch from the command line: signals, exit codes and the final summary."""

from __future__ import annotations

import shlex
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import trio

from .._config import BatchConfig, ModelConfig, RateLimits
from .._exceptions import leaves
from .._network import NetworkConfig
from ..batch import CONVERSATIONS, FAILURES, BatchReport, good_jobs, run_batch
from ..runtime import Cluster
from ._batch_progress import Display, open_display
from ._batch_source import JobsSource
from ._batch_text import cluster_line, duration
from ._errors import FAILED, INTERRUPTED, STOPPED, line_and_code
from ._runtime import open_command_runtime
from ._terminal import safe

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class BatchCommand:
    """The batch of a command line.

    Attributes:
        total: how many jobs are in the file.
        arguments: the command's own arguments, for the command line that resumes the run.
    """

    jobs: JobsSource
    total: int
    run_dir: Path
    model: str | ModelConfig
    rate: RateLimits
    network: NetworkConfig
    config: BatchConfig
    history: bool
    cluster: Cluster | None
    arguments: tuple[str, ...]

    def to_resume(self, *more: str) -> str:
        return resume_command(["batch"], self.arguments, more)


def resume_command(words: list[str], given: Sequence[str], more: Sequence[str]) -> str:
    """The command line that resumes ``trioagent *words *given``, with *more* arguments."""
    return shlex.join(["trioagent", *words, *given, *(word for word in more if word not in given)])


def execute_batch(command: BatchCommand, *, as_json: bool, quiet: bool, notes: list[str]) -> int:
    """Run the batch; returns the exit code."""
    grace = command.config.grace_seconds
    return run_with_display(
        partial(_run, command),
        notice=f"no new job starts; running ones have {grace:g} s to reach their next checkpoint",
        batch_report=lambda report: report,
        summary=partial(_summary_lines, command, quiet=quiet),
        as_json=as_json,
        quiet=quiet,
        notes=notes,
    )


def run_with_display(
    run: Callable[[Display, trio.Event], Awaitable[T]],
    *,
    notice: str,
    batch_report: Callable[[T], BatchReport],
    summary: Callable[[int, T | None], list[str]],
    as_json: bool,
    quiet: bool,
    notes: Sequence[str],
) -> int:
    """Run with a progress display and signal handling, and print a summary; returns the exit code.

    Args:
        notice: a line to show at the first signal.
        batch_report: gets the report that decides the exit code from the result of *run*.
        summary: makes the lines of the summary from the exit code and the result of *run* (None if it was cancelled).
        notes: lines to show before the run.
    """
    with open_display(as_json=as_json, quiet=quiet) as display:
        for note in notes:
            display.note(f"note: {note}")
        signalled, report = _run_to_end(partial(run, display), display, notice)
    code = _exit_code(signalled, None if report is None else batch_report(report))
    body = None if report is None else attrs.asdict(cast(attrs.AttrsInstance, report))
    display.end(code, {"report": body, "errors": []})
    for line in summary(code, report):
        display.errors.write_line(safe(line))
    return code


async def _run(command: BatchCommand, display: Display, stop: trio.Event) -> BatchReport:
    async with open_command_runtime(
        command.model, rate=command.rate, network=command.network, history=command.history
    ) as runtime:
        return await run_batch(
            good_jobs(command.jobs.path),
            runtime=runtime,
            run_dir=command.run_dir,
            config=command.config,
            stop=stop,
            total=command.total,
            on_progress=display.progress,
            cluster=command.cluster,
        )


def _run_to_end(run: Callable[[trio.Event], Awaitable[T]], display: Display, notice: str) -> tuple[bool, T | None]:
    """Whether *run* was interrupted, and its result (None if it was cancelled).

    The first signal sets the event that *run* is given, the second one cancels it. An error is shown on the
    display before it is raised.

    Args:
        notice: a line to show at the first signal.
    """
    try:
        return trio.run(_run_signalled, run, display, notice)
    except BaseException as error:
        problems = [line_and_code(leaf) for leaf in leaves(error)]
        display.end(max(code for _, code in problems), {"report": None, "errors": [line for line, _ in problems]})
        raise


async def _run_signalled(
    run: Callable[[trio.Event], Awaitable[T]], display: Display, notice: str
) -> tuple[bool, T | None]:
    stop, scope = trio.Event(), trio.CancelScope()
    report: T | None = None
    try:
        with trio.open_signal_receiver(*_signals_to_end()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_handle_signals, signals, stop, scope, display, notice)
                with scope:
                    report = await run(stop)
                nursery.cancel_scope.cancel()
    except KeyboardInterrupt:  # the receiver redelivers a signal that arrived when it was no longer read
        if report is None:
            raise
        stop.set()
    return stop.is_set(), report


def _signals_to_end() -> list[signal.Signals]:
    """The signals that end a run: with SIGHUP, unless it is ignored, as under ``nohup``."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


async def _handle_signals(
    signals: AsyncIterator[int], stop: trio.Event, scope: trio.CancelScope, display: Display, notice: str
) -> None:
    """The first signal stops a run that has begun gracefully, the second one cancels it."""
    async for number in signals:
        name = signal.Signals(number).name
        if not (stop.is_set() or display.began):
            stop.set()
            display.note(f"{name}: nothing has begun yet; stopping at once")
            scope.cancel()
        elif not stop.is_set():
            stop.set()
            display.note(f"{name}: {notice} (another one stops them at once)")
        elif not scope.cancel_called:
            display.note(f"{name}: stopping at once")
            scope.cancel()


def _exit_code(signalled: bool, report: BatchReport | None) -> int:
    """The exit code of a run: that it can be resumed takes precedence over failed jobs."""
    if report is None or (signalled and report.stopped):
        return INTERRUPTED
    if report.stopped not in ("", "limit"):
        return STOPPED
    return FAILED if report.failed or report.skipped_failed or report.no_reply or report.skipped_no_reply else 0


def _summary_lines(command: BatchCommand, code: int, report: BatchReport | None, *, quiet: bool) -> list[str]:
    """The summary for the user; empty for a complete success if *quiet*."""
    if report is None:
        return [f"interrupted; what was finished is kept; to resume: {command.to_resume()}"]
    lines = []
    if code or not quiet:
        lines.append(_sum(report))
    if report.cluster is not None and (code or not quiet):
        lines.append(cluster_line(attrs.asdict(report.cluster)))
    lines += [f"  {one.count:,} × {one.cause}, such as {one.example}: {one.message}" for one in report.causes]
    failed = report.failed + report.skipped_failed
    if failed:
        again = command.to_resume("--retry-failed")
        lines.append(f"failed: {failed:,}; see {Path(report.run_dir) / FAILURES}; to retry them: {again}")
    if silent := report.no_reply + report.skipped_no_reply:
        again = command.to_resume("--retry-failed")
        lines.append(
            f"without a reply: {silent:,}; see stop_reasons in {Path(report.run_dir) / CONVERSATIONS}; "
            f"to retry them: {again}"
        )
    match report.stopped:
        case "budget":
            option = "--max-cost" if "cost" in report.reason else "--max-tokens-total"
            lines.append(f"stopped: {report.reason}; to resume, give a larger {option}: {command.to_resume()}")
        case "limit":
            if not quiet:
                lines.append(f"stopped at --limit {command.config.limit}; to resume: {command.to_resume()}")
        case _ if code == STOPPED:
            lines.append(f"stopped: {stop_reason(report)}, go on: {command.to_resume()}")
    if code == INTERRUPTED:
        lines.append(f"interrupted; to resume: {command.to_resume()}")
    return lines


def stop_reason(report: BatchReport) -> str:
    """Why a run stopped that can go on, and when."""
    return f"{report.reason}; when that is put right" if report.reason else "jobs were cancelled; to run them"


def _sum(report: BatchReport) -> str:
    parts: list[Any] = [f"{report.done:,} done", f"{report.failed:,} failed"]
    if report.skipped:
        parts.append(f"{report.skipped:,} ended before")
    if report.left:
        parts.append(f"{report.left:,} to resume")
    if report.not_begun:
        parts.append(f"{report.not_begun:,} not begun")
    cost = f", cost {report.cost:.4g}" if report.cost else ""
    return f"{', '.join(parts)}; {report.tokens:,} tokens{cost}, {duration(report.seconds)}; in {report.run_dir}"
