"""The options that say which model answers and how the agent behaves, shared by the commands that talk."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import click

from .._config import AgentConfig, ModelConfig
from .._errors import InvalidInputError
from ..agent import Agent
from ..memory import check_memory_path
from ..models import OfflineRules, model_config
from ..runtime import Runtime, open_runtime
from ._terminal import GlobalOptions, one_line

OFFLINE_RULES = "offline-rules"
_PLAINLY = {"ModelConfig.base_url": "the base URL", "ModelConfig.api_key": "the API key", "api_key": "the API key"}


@attrs.frozen(kw_only=True)
class AgentOptions:
    """What the options of `agent_options` say.

    Attributes:
        memory: the folder of notes.
        model, base_url: as given, or None; the environment fills in.
        config: how the agent behaves.
    """

    memory: Path
    model: str | None
    base_url: str | None
    config: AgentConfig

    def resolve(self) -> tuple[str | ModelConfig, str]:
        """The model, and a line for the user if nobody has chosen it, else ""."""
        return chosen_model(self.model, self.base_url)


def chosen_model(name: str | None, base_url: str | None) -> tuple[str | ModelConfig, str]:
    """The model that the options and the environment mean, and a line for the user if nobody has chosen it, else ""."""
    try:
        found = model_config(name, base_url=base_url, env=os.environ)
    except InvalidInputError as error:
        raise InvalidInputError(_PLAINLY.get(error.what, error.what), error.problem) from error
    return (OFFLINE_RULES, found.notice) if isinstance(found, OfflineRules) else (found, "")


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--debug``, before or after the sub-command."""

    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(GlobalOptions).debug = True

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=remember,
        help="Show the traceback of an error, too (also: TRIOAGENT_DEBUG=1).",
    )(command)


def rate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--rpm`` and ``--tpm``."""
    most = click.FloatRange(0, min_open=True)
    command = click.option("--tpm", metavar="N", type=most, help="Tokens in any minute, at most.")(command)
    return click.option("--rpm", metavar="N", type=most, help="Requests in any minute, at most.")(command)


def display_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json-progress``, ``--quiet`` and ``--debug``: what a run of many jobs shows."""
    command = debug_option(command)
    command = click.option("--quiet", is_flag=True, help="No progress, and no word if all goes well.")(command)
    words = "One JSON object a second on stdout, and a last one."
    return click.option("--json-progress", is_flag=True, help=words)(command)


def agent_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument ``options``, an `AgentOptions`."""

    @functools.wraps(command)  # it also hands on the options that the command has already
    def gathered(
        *args: Any,
        memory: Path,
        model: str | None,
        base_url: str | None,
        max_tool_turns: int | None,
        system_prompt: str | None,
        **kwargs: Any,
    ) -> Any:
        config = AgentConfig(system_prompt=system_prompt)
        if max_tool_turns is not None:
            config = attrs.evolve(config, max_tool_turns=max_tool_turns)
        options = AgentOptions(memory=memory, model=model, base_url=base_url, config=config)
        return command(*args, options=options, **kwargs)

    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--memory",
            required=True,
            metavar="DIR",
            callback=given_folder,
            help="The folder of notes. It is made if it is not there yet.",
        ),
        click.option(
            "--model",
            metavar="NAME",
            help="openrouter:NAME, openai:NAME, vllm:NAME, ollama:NAME or offline-rules; with --base-url any name "
            "that the server there knows.",
        ),
        click.option(
            "--base-url",
            metavar="URL",
            help="The address of an OpenAI-compatible server, e.g. http://localhost:8000/v1.",
        ),
        click.option(
            "--max-tool-turns",
            metavar="N",
            type=click.IntRange(min=0),
            help=f"How often the model may run code before it must reply.  [default: {AgentConfig().max_tool_turns}]",
        ),
        click.option(
            "--system-prompt",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            callback=_read_prompt,
            help="A text that replaces the built-in system prompt, which explains the notes and the tools.",
        ),
        debug_option,
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


@asynccontextmanager
async def open_agent(options: AgentOptions) -> AsyncIterator[tuple[Runtime, Agent]]:
    """An agent as the options say. A model that nobody chose is announced on stderr."""
    model, notice = options.resolve()
    if options.memory.exists() or options.memory.is_symlink():
        check_memory_path(options.memory)  # now, and not only once the model has written code
    if notice:
        click.echo(f"note: {one_line(notice)}", err=True)
    async with open_runtime(model) as runtime:
        agent = Agent(
            runtime,
            memory_path=options.memory,
            max_tool_turns=options.config.max_tool_turns,
            system_prompt=options.config.system_prompt,
        )
        yield runtime, agent


class FolderType(click.Path):
    """A folder's path, which is not the empty text: as a path that would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; name a folder.", param, ctx)
        return super().convert(value, param, ctx)


def given_folder(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """A click callback for a memory's folder."""
    if not value:  # Path("") would be the current folder
        raise click.BadParameter("is empty; name a folder.", ctx, parameter)
    return Path(value)


def _read_prompt(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{str(path)!r} is not UTF-8 text at byte {error.start}.", ctx, parameter) from error
    if not text.strip():
        raise click.BadParameter(f"{str(path)!r} is empty.", ctx, parameter)
    return text
