"""``trioagent batch status``: the state of a run, read from its run directory while it runs or afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from ..batch import RunStatus, read_run_status
from ._batch_text import duration, progress_lines
from ._model_options import debug_option
from ._terminal import safe

_ENDINGS = {
    "": "it finished all jobs",
    "asked": "it was interrupted",
    "budget": "its budget was used up",
    "outage": "a model's server was unavailable for longer than --outage-patience",
    "quota": "money or an allowance at the model's server was used up",
    "refused": "the model's server refused everything",
    "disk": "the disk was full for longer than --outage-patience",
    "limit": "it had run as many jobs as --limit allowed",
    "cancelled": "it was cancelled, or ended with an error",
}


@click.command("status")
@click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@debug_option
def status(run_dir: Path, as_json: bool) -> None:
    """Show the state of the batch in run directory DIR.

    It only reads: the counts and the spending from the journal, the rest from status.json, which a running batch
    writes every second.
    """
    found = read_run_status(run_dir)
    if as_json:
        click.echo(json.dumps(attrs.asdict(found)))
        return
    for line in _lines(found, time.time()):
        click.echo(safe(line))


def _lines(found: RunStatus, now: float) -> Iterator[str]:
    last = found.last
    if found.merged:
        yield f"{found.run_dir}: merged shards"
    elif found.running:
        who = f" (process {last['pid']}, model {last['model']})" if last is not None else ""
        yield f"{found.run_dir}: running{who}"
    else:
        yield f"{found.run_dir}: not running; {_ending(found, now)}"
    counts = found.counts
    yield (
        f"jobs begun so far: {counts.get('done', 0):,} done, {counts.get('failed', 0):,} failed, "
        f"{counts.get('running', 0):,} {'not ended yet' if found.running else 'to resume'}"
    )
    yield f"spent by all runs: {found.spent.total_tokens:,} tokens, cost {found.spent.cost:.4g}"
    if found.running and last is not None:
        yield f"{duration(max(0.0, now - last['written']))} ago:"
        for line in progress_lines(last["progress"]):
            yield f"  {line}"
    if not (found.running or found.merged) and (counts.get("running") or (found.report or {}).get("stopped") != ""):
        yield "the same command as before resumes it"


def _ending(found: RunStatus, now: float) -> str:
    if found.last is None:
        return "it was killed before it had begun"
    ago = duration(max(0.0, now - found.last["written"]))
    if not found.last["ended"]:
        return f"it was killed, {ago} ago"
    stopped = (found.report or {}).get("stopped", "cancelled")
    return f"it ended {ago} ago: {_ENDINGS.get(stopped, stopped)}"
