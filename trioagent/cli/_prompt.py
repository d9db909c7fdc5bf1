"""``trioagent prompt``: the system prompt of agents."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from .._model_profile import profile_for
from .._prompt import date_and_zone, said_date, with_date
from .._prompt import system_prompt as effective_prompt
from ._model_options import FileType, PromptChoice, agent_config, debug_option, prompt_options
from ._profiles import load_profile
from ._terminal import safe


@click.group()
def prompt() -> None:
    """Look at the system prompt (`prompt show`)."""


@prompt.command()
@prompt_options
@click.option("--profile", metavar="NAME", help="A profile of the configuration file.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=FileType(dir_okay=False, path_type=Path),
    help="The configuration file, in place of trioagent/trioagent.toml in ~/.config.",
)
@debug_option
def show(prompt: PromptChoice, profile: str | None, config_file: Path | None) -> None:
    """Print the system prompt that an agent with these options gets."""
    chosen = load_profile(profile, config_file, os.environ)
    config = agent_config(chosen, None, prompt)
    resolved = profile_for(chosen.model or "", config.model_profile)
    text = effective_prompt(config.system_prompt, config.system_prompt_append, profile=resolved)
    now = date_and_zone(datetime.now().astimezone())
    date = said_date(config.date, is_own_prompt=config.system_prompt is not None, today=now)
    text = safe(with_date(text, date))
    click.echo(text, nl=not text.endswith("\n"))
