"""``trioagent batch drop-failed``: drops what a run directory keeps of failed jobs."""

from __future__ import annotations

from pathlib import Path

import click

from ..batch import drop_failed
from ._model_options import debug_option
from ._terminal import safe


@click.command("drop-failed")
@click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@debug_option
def drop_failed_command(run_dir: Path, job_ids: tuple[str, ...]) -> None:
    """Drop what run directory DIR keeps of failed jobs: of those named, or of all.

    These are the events that `batch --retry-failed` resumes from, and the former contents of notes that the jobs
    changed, which it restores. The jobs stay failed; when retried they begin from the start, with
    their notes as they are.
    """
    dropped = drop_failed(run_dir, job_ids)
    click.echo(safe(f"dropped {dropped.events:,} events of {dropped.jobs:,} failed jobs in {run_dir}"))
