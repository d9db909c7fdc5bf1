"""Options for the model and the agent's behaviour, shared by the commands that run agents."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import click

from .._config import AgentConfig, BatchConfig, ModelConfig, RateLimits, VaultPolicy
from .._errors import InvalidInputError
from .._network import NetworkConfig
from ..agent import Agent
from ..memory import HistorySetting, check_memory_path, is_writable
from ..models import OFFLINE_RULES, OfflineRules
from ..runtime import Runtime
from ..sandbox import Reviewer
from ._profiles import ModelChoice, Profile, load_profile
from ._runtime import open_command_runtime
from ._terminal import GlobalOptions, one_line

AGENT_FOLDER = "agent"
"""The folder for the agent's own notes in a person's vault."""
_ARGUMENTS = "trioagent.arguments"


@attrs.frozen(kw_only=True)
class AgentOptions:
    """The values of the options of `agent_options`.

    Attributes:
        memory: the folder of notes.
        model: the options for the model.
        config: the agent's behaviour.
        policy: what it may touch.
        history: where every commit is kept, see `Memory`.
    """

    memory: Path
    model: ModelChoice
    config: AgentConfig
    policy: PolicyChoice
    history: HistorySetting = True


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select a model; the command gets them as one argument ``model``, a `ModelChoice`."""

    @functools.wraps(command)  # it also passes on the options that the command has already
    def gathered(
        *args: Any,
        model: str | None,
        base_url: str | None,
        api_key_env: str | None,
        option: tuple[tuple[str, Any], ...],
        header: tuple[tuple[str, str], ...],
        no_stream: bool,
        profile: str | None,
        config_file: Path | None,
        **kwargs: Any,
    ) -> Any:
        options = dict(option)
        if no_stream:
            options["stream"] = False
        choice = ModelChoice(
            model=model,
            base_url=base_url,
            api_key_env=api_key_env,
            options=options,
            headers=dict(header),
            profile=load_profile(profile, config_file, os.environ),
        )
        return command(*args, model=choice, **kwargs)

    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
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
            "--api-key-env",
            metavar="VARIABLE",
            help="The environment variable that holds the key for that server.",
        ),
        click.option(
            "-o",
            "--option",
            metavar="KEY=VALUE",
            multiple=True,
            callback=read_options,
            help="A request parameter, e.g. temperature=0.2, max_tokens=500, seed=1, stop=END or top_k=20, "
            "or a property of the model: context_tokens=8192; the value is JSON if it can be parsed as such, else "
            "text. May be repeated.",
        ),
        click.option(
            "--header",
            metavar="NAME:VALUE",
            multiple=True,
            callback=_read_headers,
            help="A request header. Not for keys: every user of a machine can see a command's arguments.",
        ),
        click.option("--no-stream", is_flag=True, help="Ask for answers in one piece, for servers that cannot stream."),
        click.option("--profile", metavar="NAME", help="A profile of the configuration file."),
        click.option(
            "--config",
            "config_file",
            metavar="FILE",
            type=FileType(dir_okay=False, path_type=Path),
            help="The configuration file, in place of trioagent/trioagent.toml in ~/.config.",
        ),
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def read_options(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """A click callback for request parameters: their names, and values as JSON or texts."""
    options: list[tuple[str, Any]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE.", ctx, parameter)
        try:
            options.append((name.strip(), json.loads(value)))
        except (ValueError, RecursionError):
            options.append((name.strip(), value))
    return tuple(options)


def _read_headers(
    ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter("must be NAME:VALUE.", ctx, parameter)
        headers.append((name.strip(), value.strip()))
    return tuple(headers)


@attrs.frozen(kw_only=True)
class ResolvedModel:
    """A model that can be opened.

    Attributes:
        model: for `open_runtime`.
        notes: lines for the user.
        network: proxies and certificate authorities, from the environment.
    """

    model: str | ModelConfig
    notes: tuple[str, ...]
    network: NetworkConfig

    def with_rate(self, rate: RateLimits) -> str | ModelConfig:
        """The model, limited to *rate*."""
        return self.model if isinstance(self.model, str) else attrs.evolve(self.model, rate=rate)


def resolve_model(choice: ModelChoice, *, required: bool = False) -> ResolvedModel:
    """The model that options, profile and environment select.

    Args:
        required: a model must be chosen explicitly: a long run has no default.

    Raises:
        InvalidInputError: see `ModelChoice.resolve`; or none was chosen, and one is *required*.
    """
    found, notes = choice.resolve(os.environ)
    if required and isinstance(found, OfflineRules) and found.notice:
        raise InvalidInputError(
            "--model",
            "no model is chosen, and a run has no default: name one (--model, --profile or TRIOAGENT_MODEL); "
            "--model offline-rules is the embedded one, which is not a language model",
        )
    model = OFFLINE_RULES if isinstance(found, OfflineRules) else found
    return ResolvedModel(model=model, notes=notes, network=NetworkConfig.from_env(os.environ))


class RunCommand(click.Command):
    """A command that remembers its own arguments, for the command line that resumes its run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def given_arguments(ctx: click.Context) -> tuple[str, ...]:
    """The arguments of a `RunCommand`, as they were typed."""
    arguments: tuple[str, ...] = ctx.meta[_ARGUMENTS]
    return arguments


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


def outage_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--outage-patience``."""
    return click.option(
        "--outage-patience",
        metavar="SECONDS",
        type=click.FloatRange(0),
        default=BatchConfig().outage_patience,
        show_default=True,
        help="How long to wait for an unavailable server, or a full disk, before stopping.",
    )(command)


def tool_turns_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--max-tool-turns``, of a run's agents."""
    return click.option(
        "--max-tool-turns", metavar="N", type=click.IntRange(min=0), help="For each message; see `trioagent run`."
    )(command)


def token_budget_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--max-tokens-total``."""
    return click.option(
        "--max-tokens-total", metavar="N", type=click.IntRange(min=1), help="Stop before more than N tokens are spent."
    )(command)


def display_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json-progress``, ``--quiet`` and ``--debug``: the output of a run of many jobs."""
    command = debug_option(command)
    command = click.option("--quiet", is_flag=True, help="No progress, and no output on success.")(command)
    words = "One JSON object a second on stdout, and a final one."
    return click.option("--json-progress", is_flag=True, help=words)(command)


def turns_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--max-tool-turns``."""
    return click.option(
        "--max-tool-turns",
        metavar="N",
        type=click.IntRange(min=0),
        help=f"How often the model may run code before it must reply.  [default: {AgentConfig().max_tool_turns}]",
    )(command)


@attrs.frozen(kw_only=True)
class PromptChoice:
    """The command line's options for the system prompt; None if not given. See `AgentConfig`."""

    system_prompt: str | None = None
    system_prompt_append: str | None = None
    date: str | None = None


def prompt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--system-prompt``, ``--system-prompt-append`` and ``--date``; the command gets them as one ``prompt``."""

    @functools.wraps(command)
    def gathered(
        *args: Any, system_prompt: str | None, system_prompt_append: str | None, date: str | None, **kwargs: Any
    ) -> Any:
        choice = PromptChoice(system_prompt=system_prompt, system_prompt_append=system_prompt_append, date=date)
        return command(*args, prompt=choice, **kwargs)

    file = FileType(exists=True, dir_okay=False, path_type=Path)
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--system-prompt",
            metavar="FILE",
            type=file,
            callback=_read_prompt,
            help="A text that replaces the built-in system prompt, which explains the notes and the tools.",
        ),
        click.option(
            "--system-prompt-append",
            metavar="FILE",
            type=file,
            callback=_read_prompt,
            help="A text that is added to the system prompt (see `trioagent prompt show`).",
        ),
        click.option(
            "--date",
            metavar="WORDS",
            help="The date in the prompt: 'today' (with the time zone), 'none', or a text such as "
            "'Monday, 2024-05-06'.  [default: today, with the built-in prompt]",
        ),
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def agent_config(profile: Profile, max_tool_turns: int | None, prompt: PromptChoice) -> AgentConfig:
    """The agent's behaviour, by the command line's options and the profile."""
    chosen = {
        "max_tool_turns": profile.max_tool_turns if max_tool_turns is None else max_tool_turns,
        "model_profile": profile.model_profile,
        "blind_overwrite": profile.blind_overwrite,
        **{name: getattr(profile, name) if value is None else value for name, value in attrs.asdict(prompt).items()},
    }
    settings: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    try:
        return AgentConfig(**settings)
    except InvalidInputError as error:
        raise InvalidInputError(error.what.removeprefix("AgentConfig."), error.problem) from error


@attrs.frozen
class PolicyChoice:
    """The command line's options for what an agent may touch; None if not given."""

    read_only: bool | None = None
    readable: tuple[str, ...] | None = None
    writable: tuple[str, ...] | None = None
    agent_folder: str | None = None

    def over(self, profile: Profile) -> VaultPolicy:
        """The policy of the profile, overridden by the options."""
        given = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        return attrs.evolve(profile.policy or VaultPolicy(), **given)

    def says_folder(self, profile: Profile) -> bool:
        """Whether the folder of the agent's own notes was set."""
        return self.agent_folder is not None or (profile.policy is not None and bool(profile.policy.agent_folder))


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument ``policy``, a `PolicyChoice`."""

    @functools.wraps(command)
    def gathered(
        *args: Any,
        read_only: bool,
        readable: tuple[str, ...],
        writable: tuple[str, ...],
        agent_folder: str | None,
        **kwargs: Any,
    ) -> Any:
        choice = PolicyChoice(read_only or None, readable or None, writable or None, agent_folder)
        return command(*args, policy=choice, **kwargs)

    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option("--read-only", is_flag=True, help="The agent reads the notes and does not change them."),
        click.option(
            "--readable",
            metavar="GLOB",
            multiple=True,
            help="Notes that the agent is shown, such as 'entities/**', or not: '!journal/**'. May be repeated.",
        ),
        click.option(
            "--writable", metavar="GLOB", multiple=True, help="Notes that the agent may change. May be repeated."
        ),
        click.option(
            "--agent-folder",
            metavar="NAME",
            help="The folder in the notes for the agent's own; '' for none.",
        ),
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def history_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--history`` and ``--no-history``; the command gets them as one argument ``history``."""

    @functools.wraps(command)
    def gathered(*args: Any, history: Path | None, no_history: bool, **kwargs: Any) -> Any:
        if history is not None and no_history:
            raise InvalidInputError("--no-history", "is given together with --history; use one of them")
        return command(*args, history=not no_history if history is None else history, **kwargs)

    where = click.option(
        "--history",
        metavar="DIR",
        type=FolderType(file_okay=False, path_type=Path),
        help="Where every change of the notes is kept, in place of .trioagent/history in their folder.",
    )
    off = click.option("--no-history", is_flag=True, help="Do not keep the changes of the notes.")
    return where(off(gathered))


def agent_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument ``options``, an `AgentOptions`."""

    @functools.wraps(command)  # it also passes on the options that the command has already
    def gathered(
        *args: Any,
        memory: Path,
        model: ModelChoice,
        max_tool_turns: int | None,
        prompt: PromptChoice,
        policy: PolicyChoice,
        history: HistorySetting,
        **kwargs: Any,
    ) -> Any:
        config = agent_config(model.profile, max_tool_turns, prompt)
        options = AgentOptions(memory=memory, model=model, config=config, policy=policy, history=history)
        return command(*args, options=options, **kwargs)

    memory_option = click.option(
        "--memory",
        required=True,
        metavar="DIR",
        callback=given_folder,
        help="The folder of notes. It is created if it does not exist.",
    )
    return memory_option(
        model_options(turns_option(prompt_options(policy_options(history_options(debug_option(gathered))))))
    )


@asynccontextmanager
async def open_agent(options: AgentOptions, *, review: Reviewer | None = None) -> AsyncIterator[tuple[Runtime, Agent]]:
    """An agent with these options. A default model is announced on stderr.

    Args:
        review: see `Agent`.
    """
    resolved = resolve_model(options.model)
    profile = options.model.profile
    policy, said = policy_for(options.memory, options.policy, profile)
    for note in (*resolved.notes, *said):
        click.echo(f"note: {one_line(note)}", err=True)
    rate = RateLimits(requests_per_minute=profile.rpm, tokens_per_minute=profile.tpm)
    keeps = options.history is not False
    async with open_command_runtime(resolved.with_rate(rate), network=resolved.network, history=keeps) as runtime:
        settings: dict[str, Any] = {**attrs.asdict(options.config), "policy": policy, "history": options.history}
        yield runtime, Agent(runtime, memory_path=options.memory, review=review, **settings)


def policy_for(memory: Path, choice: PolicyChoice, profile: Profile) -> tuple[VaultPolicy, tuple[str, ...]]:
    """What an agent may touch in *memory*, and lines for the user about it.

    In a vault without an agent's notes the agent's own notes go into ``agent/``, unless the folder was set; a
    vault that is not writable is opened read-only.

    Raises:
        MemoryPathError: it cannot be a memory, which is checked now and not only once the model has written code.
    """
    policy, notes = choice.over(profile), []
    if not (memory.exists() or memory.is_symlink()):
        return policy, ()
    check_memory_path(memory, read_only=True)
    if not policy.read_only and not is_writable(memory):
        policy = attrs.evolve(policy, read_only=True)
        notes.append(f"{str(memory)!r} is not writable by this user, so the agent only reads it")
    if not choice.says_folder(profile) and not policy.read_only and _is_somebodys_vault(memory):
        policy = attrs.evolve(policy, agent_folder=AGENT_FOLDER)
        if not (memory / AGENT_FOLDER).exists():
            notes.append(
                f"{str(memory)!r} holds notes of somebody's, so the agent's own go into {AGENT_FOLDER}/ there "
                "(--agent-folder NAME for another folder, --agent-folder '' for none)"
            )
    return policy, tuple(notes)


def _is_somebodys_vault(memory: Path) -> bool:
    """Whether a folder contains notes, but none kept by agents."""
    if (memory / "user.md").exists() or (memory / "entities").is_dir():
        return False
    names = [path for path in memory.iterdir() if path.name != AGENT_FOLDER]
    return any(path.name == ".obsidian" or not path.name.startswith(".") for path in names)


def expanded(path: str, ctx: click.Context | None = None, parameter: click.Parameter | None = None) -> str:
    """*path* with an initial ``~`` or ``~user`` expanded, which a shell does not do after ``=``.

    Raises:
        click.BadParameter: there is no such user, or no home folder.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise click.BadParameter(f"{path!r}: {error}", ctx, parameter) from error


class FileType(click.Path):
    """A file's path; ``~`` is expanded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expanded(value, ctx, param) if isinstance(value, str) else value, param, ctx)


class FolderType(FileType):
    """A folder's path, which may not be empty: as a path that would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; name a folder.", param, ctx)
        return super().convert(value, param, ctx)


def given_folder(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """A click callback for a memory's folder."""
    if not value:  # Path("") would be the current folder
        raise click.BadParameter("is empty; name a folder.", ctx, parameter)
    return Path(expanded(value, ctx, parameter))


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
