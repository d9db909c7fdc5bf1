"""``trioagent ctl``: control a running run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import trio

from .._errors import InvalidInputError
from .._runs import ControlAction, ControlRequest, send_control
from ._batch_text import progress_lines
from ._model_options import debug_option
from ._terminal import safe

_ACTIONS: Mapping[str, ControlAction] = {name.replace("_", "-"): name for name in get_args(ControlAction)}
_OF_JOBS = ("cancel", "put_back")


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.argument("action", metavar="[ACTION]", type=click.Choice(list(_ACTIONS)), default="status")
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--max-concurrent", metavar="N", type=click.IntRange(1), help="With set: jobs at once.")
@click.option("--rpm", metavar="N", type=click.FloatRange(0), help="With set: requests per minute; 0 for no limit.")
@click.option("--tpm", metavar="N", type=click.FloatRange(0), help="With set: tokens per minute; 0 for no limit.")
@click.option("--endpoint", metavar="URL", help="With set: the rates of this model server only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@debug_option
def ctl(
    run_dir: Path,
    action: str,
    job: str | None,
    max_concurrent: int | None,
    rpm: float | None,
    tpm: float | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Control the run in RUN_DIR while it runs: a batch, training conversations or an evaluation.

    \b
    ACTION is one of
      status         show its state (also without an ACTION)
      pause          start no new job; running ones continue
      resume         continue
      set            other numbers: --max-concurrent, --rpm, --tpm
      cancel JOB     stop a running job, and leave it to the next start
      put-back JOB   run a failed job again
      stop           start no new job, and let running ones reach their next checkpoint
      stop-now       stop at once; what was finished is kept

    \b
    Examples:
      trioagent ctl runs/july
      trioagent ctl runs/july set --max-concurrent 20 --rpm 600
      trioagent ctl runs/july put-back user-17

    Only the user who runs it, and root, can do so. The same command as before resumes a run that was stopped.
    """
    kind = _ACTIONS[action]
    if (job is not None) != (kind in _OF_JOBS):
        raise InvalidInputError("JOB", f"is {'needed' if job is None else 'not taken'} with {action}")
    numbers = {"--max-concurrent": max_concurrent, "--rpm": rpm, "--tpm": tpm, "--endpoint": endpoint}
    if kind != "set" and (given := [name for name, value in numbers.items() if value is not None]):
        raise InvalidInputError(given[0], f"is taken with set, not with {action}")
    request = ControlRequest(
        do=kind,
        job=job,
        max_concurrent=max_concurrent,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        endpoint=endpoint,
    )
    found = trio.run(partial(send_control, run_dir, request))
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in _lines(found):
        click.echo(safe(line))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    progress = found["progress"]
    state = "stopping" if progress["stopping"] else "paused" if found["paused"] else "running"
    yield f"{state}, at most {found['max_concurrent']:,} jobs at once"
    yield from progress_lines(progress)
