"""``trioagent prompt``: the system prompt of agents."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .._model_profile import profile_for
from .._prompt import system_prompt as effective_prompt
from ._model_options import FileType, agent_config, debug_option, prompt_options
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
def show(
    system_prompt: str | None, system_prompt_append: str | None, profile: str | None, config_file: Path | None
) -> None:
    """Print the system prompt that an agent with these options gets."""
    chosen = load_profile(profile, config_file, os.environ)
    config = agent_config(chosen, None, system_prompt, system_prompt_append)
    resolved = profile_for(chosen.model or "", config.model_profile)
    text = safe(effective_prompt(config.system_prompt, config.system_prompt_append, profile=resolved))
    click.echo(text, nl=not text.endswith("\n"))
