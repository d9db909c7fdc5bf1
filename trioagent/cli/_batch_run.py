"""Run a batch from the command line: signals, exit codes, and what is said in the end."""

from __future__ import annotations

import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import trio

from .._config import BatchConfig, ModelConfig, RateLimits
from ..batch import FAILURES, BatchReport, good_jobs, run_batch
from ..runtime import open_runtime
from ._batch_progress import Display, open_display
from ._batch_text import duration
from ._errors import FAILED, INTERRUPTED, leaves, line_and_code
from ._terminal import safe


@attrs.frozen(kw_only=True)
class Order:
    """What is to be run, and how.

    Attributes:
        total: how many jobs the file holds.
        again: the command's own arguments, to tell the user how to go on.
    """

    jobs: Path
    total: int
    run_dir: Path
    model: str | ModelConfig
    rate: RateLimits
    config: BatchConfig
    again: tuple[str, ...]

    def command(self, *more: str) -> str:
        added = [word for word in more if word not in self.again]
        return shlex.join(["trioagent", "batch", *self.again, *added])


def carry_out(order: Order, *, as_json: bool, quiet: bool, notes: list[str]) -> int:
    """Run the batch; returns the exit code."""
    with open_display(as_json=as_json, quiet=quiet) as display:
        for note in notes:
            display.note(f"note: {note}")
        try:
            signalled, report = trio.run(_run, order, display)
        except BaseException as error:
            told = [line_and_code(leaf) for leaf in leaves(error)]
            display.end(max(code for _, code in told), {"report": None, "errors": [line for line, _ in told]})
            raise
    code = _exit_code(signalled, report)
    display.end(code, {"report": None if report is None else attrs.asdict(report), "errors": []})
    for line in _last_words(order, code, report, quiet=quiet):
        display.errors.say(safe(line))
    return code


async def _run(order: Order, display: Display) -> tuple[bool, BatchReport | None]:
    """Was the run interrupted, and what came of it (None if it had to stop at once)?"""
    stop, scope = trio.Event(), trio.CancelScope()
    report: BatchReport | None = None
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey, signals, stop, scope, display, order.config.grace_seconds)
                with scope:
                    async with open_runtime(order.model, rate=order.rate) as runtime:
                        report = await run_batch(
                            good_jobs(order.jobs),
                            runtime=runtime,
                            run_dir=order.run_dir,
                            config=order.config,
                            stop=stop,
                            total=order.total,
                            on_progress=display.show,
                        )
                nursery.cancel_scope.cancel()
    except KeyboardInterrupt:  # one that came when nobody read signals any more is delivered again by the receiver
        if report is None:
            raise
        stop.set()
    return stop.is_set(), report


async def _obey(
    signals: AsyncIterator[int], stop: trio.Event, scope: trio.CancelScope, display: Display, grace: float
) -> None:
    """The first signal asks the batch to stop, the second one makes it."""
    async for number in signals:
        name = signal.Signals(number).name
        if not stop.is_set():
            stop.set()
            display.note(
                f"{name}: no new job starts; running ones have {grace:g} s to reach their next checkpoint "
                "(another one stops them at once)"
            )
        elif not scope.cancel_called:
            display.note(f"{name}: stopping at once")
            scope.cancel()


def _exit_code(signalled: bool, report: BatchReport | None) -> int:
    if report is None or (signalled and report.stopped):
        return INTERRUPTED
    return FAILED if report.failed or report.skipped_failed or report.stopped in ("budget", "refused") else 0


def _last_words(order: Order, code: int, report: BatchReport | None, *, quiet: bool) -> list[str]:
    """What to tell the user in the end; a good end is not worth a word if *quiet*."""
    if report is None:
        return [f"interrupted; what was finished is kept; to go on: {order.command()}"]
    lines = []
    if code or not quiet:
        lines.append(_sum(report))
    failed = report.failed + report.skipped_failed
    if failed:
        again = order.command("--retry-failed")
        lines.append(f"failed: {failed:,}; see {Path(report.run_dir) / FAILURES}; to try them again: {again}")
    match report.stopped:
        case "budget":
            option = "--max-cost" if "cost" in report.reason else "--max-tokens-total"
            lines.append(f"stopped: {report.reason}; to go on, give a larger {option}: {order.command()}")
        case "refused":
            lines.append(f"stopped: {report.reason}; when that is put right, go on: {order.command()}")
        case "limit" if not quiet:
            lines.append(f"stopped at --limit {order.config.limit}; to go on: {order.command()}")
    if code == INTERRUPTED:
        lines.append(f"interrupted; to go on: {order.command()}")
    return lines


def _sum(report: BatchReport) -> str:
    parts: list[Any] = [f"{report.done:,} done", f"{report.failed:,} failed"]
    if report.skipped:
        parts.append(f"{report.skipped:,} ended before")
    if report.left:
        parts.append(f"{report.left:,} to go on with")
    cost = f", cost {report.cost:.4g}" if report.cost else ""
    return f"{', '.join(parts)}; {report.tokens:,} tokens{cost}, {duration(report.seconds)}; in {report.run_dir}"
