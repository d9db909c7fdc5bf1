"""``trioagent view``: a run, or memories, on a page in the browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from .._config import RateLimits
from .._errors import InvalidInputError
from .._files import user_path
from .._runs import read_run_status
from ._model_options import debug_option, model_options, resolve_model
from ._profiles import ModelChoice
from ._runtime import open_command_runtime
from ._serve import TOKEN_VARIABLE, serve_until_signal
from ._terminal import one_line

if TYPE_CHECKING:
    from ..server import ServerConfig


@click.command()
@click.argument("run_dir", metavar="[RUN_DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--memory", "memory", metavar="DIR", type=click.Path(path_type=Path), help="Notes, or a folder with some."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; any free port by default.")
@model_options
@debug_option
def view(run_dir: Path | None, memory: Path | None, port: int, model: ModelChoice) -> int:
    """View a run, or memories, on a page in the browser.

    RUN_DIR is the run directory of `trioagent batch` or `sft generate`, or a folder with several. The page is served to
    this machine only, until Ctrl-C; the link that is printed opens it. Nothing is changed, unless you do it
    there. With a model you can also chat with the agent of a memory.

    \b
    Examples:
      trioagent view runs/july
      trioagent view --memory notes
      trioagent view runs/july --memory notes --model openrouter:anthropic/claude-sonnet-4
    """
    from ..server import ServerConfig  # imported on use

    if run_dir is None and memory is None:
        raise InvalidInputError("RUN_DIR", "name a run directory, or memories with --memory DIR")
    runs = None if run_dir is None else _checked_run(user_path(run_dir, "RUN_DIR"))
    notes = None if memory is None else user_path(memory, "--memory")
    if notes is not None and not notes.is_dir():
        raise InvalidInputError("--memory", f"{str(notes)!r} is not a folder")
    config = ServerConfig(root=notes, runs=runs, port=port, token=os.environ.get(TOKEN_VARIABLE) or None)
    what = " and ".join(str(path) for path in (runs, notes) if path is not None)
    if model.model is None and model.base_url is None and model.profile.model is None:
        return trio.run(serve_until_signal, config, what)
    return trio.run(_with_model, config, what, model)


async def _with_model(config: ServerConfig, what: str, choice: ModelChoice) -> int:
    resolved = resolve_model(choice)
    for note in resolved.notes:
        click.echo(f"note: {one_line(note)}", err=True)
    rate = RateLimits(requests_per_minute=choice.profile.rpm, tokens_per_minute=choice.profile.tpm)
    async with open_command_runtime(resolved.with_rate(rate), network=resolved.network, history=True) as runtime:
        return await serve_until_signal(config, f"{runtime.model.name}, {what}", runtime)


def _checked_run(path: Path) -> Path:
    """A run directory, or a folder with several; anything else is refused before it is served."""
    if path.is_dir() and any((each / "journal.db").is_file() for each in path.iterdir() if each.is_dir()):
        return path
    read_run_status(path)
    return path
