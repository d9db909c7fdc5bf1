"""``trioagent sft``: training conversations from personas and facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from .._config import FLOWS, Flow, SftConfig
from ..batch import BadJobsError
from ..models import OFFLINE_RULES
from ..runtime import Cluster
from ._batch import fit_concurrency, report_bad_rows
from ._cluster_options import cluster_options
from ._model_options import (
    FileType,
    FolderType,
    PromptChoice,
    RunCommand,
    agent_config,
    display_options,
    given_arguments,
    model_options,
    outage_option,
    prompt_options,
    rate_options,
    read_options,
    resolve_model,
    token_budget_option,
    tool_turns_option,
)
from ._profiles import ModelChoice
from ._sft_run import SftCommand, execute_sft

_DEFAULTS = SftConfig()


def _language_model(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    if name == OFFLINE_RULES:
        raise click.BadParameter(f"{OFFLINE_RULES} is not a language model, and cannot do this.", ctx, parameter)
    return name


@click.group()
def sft() -> None:
    """Make training conversations (`sft generate --help`)."""


@sft.command(cls=RunCommand)
@click.option(
    "--personas",
    required=True,
    metavar="FILE",
    type=FileType(path_type=Path),
    help='A JSON object a line: {"persona": {…}, "facts": […]}.',
)
@click.option("--flow", type=click.Choice(FLOWS), required=True, help="What the conversations are about; see above.")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=FolderType(file_okay=False, path_type=Path),
    help="The folder for the conversations and the journal. With the same one the run is resumed.",
)
@model_options
@click.option(
    "--persona-model",
    metavar="NAME",
    callback=_language_model,
    help="A model that plays the personas; without one they speak plain sentences from a script.",
)
@click.option(
    "--judge-model",
    metavar="NAME",
    callback=_language_model,
    help="A model that makes the final decision; default: none.",
)
@click.option(
    "--persona-option",
    "persona_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=read_options,
    help="A request parameter of the model that plays the personas, as -o is one of the agent's.",
)
@click.option(
    "--judge-option",
    "judge_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=read_options,
    help="A request parameter of the judge, e.g. temperature=0.",
)
@click.option(
    "--turns",
    metavar="N",
    type=click.IntRange(min=1),
    default=_DEFAULTS.num_turns,
    show_default=True,
    help="Messages of the persona in a conversation, at most.",
)
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    default=_DEFAULTS.max_retries,
    show_default=True,
    help="Further attempts after a rejected one.",
)
@click.option(
    "--max-concurrent",
    metavar="N",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_concurrent,
    show_default=True,
    help="Conversations at once.",
)
@tool_turns_option
@prompt_options
@rate_options
@token_budget_option
@click.option(
    "--accept-changes", is_flag=True, help="Resume with another model, judge, prompt or number of tool turns."
)
@click.option("--retry-rejected", is_flag=True, help="Start rejected personas again, with all attempts.")
@outage_option
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=_DEFAULTS.grace_seconds,
    show_default=True,
    help="How long attempts may continue to their end after the first Ctrl-C.",
)
@cluster_options
@display_options
@click.pass_context
def generate(
    ctx: click.Context,
    *,
    personas: Path,
    flow: str,
    out: Path,
    model: ModelChoice,
    persona_model: str | None,
    judge_model: str | None,
    persona_options: tuple[tuple[str, Any], ...],
    judge_options: tuple[tuple[str, Any], ...],
    turns: int,
    retries: int,
    max_concurrent: int,
    max_tool_turns: int | None,
    prompt: PromptChoice,
    rpm: float | None,
    tpm: float | None,
    max_tokens_total: int | None,
    retry_rejected: bool,
    accept_changes: bool,
    outage_patience: float,
    grace: float,
    cluster: Cluster | None,
    json_progress: bool,
    quiet: bool,
) -> int:
    """Let personas talk with agents, and keep the conversations that succeeded.

    \b
    --flow introduce  the persona states its facts; they must end up in the notes
    --flow update     a fact in the notes changes; the notes must state the new one,
                      and the old one no longer
    --flow retrieve   the facts are in the notes; the persona asks for them, and the
                      replies must state them

    Every row of FILE is checked before anything is spent. Each attempt has a fresh memory, which is removed afterwards.
    The same command again resumes a run, however it ended. The first Ctrl-C (or SIGTERM) starts no new attempt;
    the second one stops at once.

    \b
    In DIR: conversations.jsonl (a row for each accepted conversation), rejected.jsonl
    (the others, with reasons), report.json; `trioagent batch status DIR` shows it.

    \b
    Exit codes: 0 all accepted, 1 some rejected, or DIR cannot be used, 2 bad rows or options,
    3 stopped (budget or quota used up, server unavailable, disk full), 130 interrupted; after 3
    and 130 the same command resumes the run.
    """
    from ..sft import read_personas  # imported on use: 30 ms

    for given, option, needed, name in (
        (persona_options, "--persona-option", "--persona-model", persona_model),
        (judge_options, "--judge-option", "--judge-model", judge_model),
    ):
        if given and name is None:
            raise click.UsageError(f"{option} needs {needed}: there is no model that it could be for.", ctx)

    chosen_flow = cast(Flow, flow)
    try:
        people, facts = read_personas(personas, chosen_flow, scripted=persona_model is None)
    except BadJobsError as bad:
        return report_bad_rows(bad)
    resolved = resolve_model(model, required=True)
    others = [name for name in (persona_model, judge_model) if name is not None]
    rate, note = fit_concurrency(
        max_concurrent,
        "conversations",
        models=1 + len(others),
        rpm=model.profile.rpm if rpm is None else rpm,
        tpm=model.profile.tpm if tpm is None else tpm,
    )
    notes = [line for line in (*resolved.notes, note) if line]
    agent = agent_config(model.profile, max_tool_turns, prompt)
    command = SftCommand(
        personas=people,
        facts=facts,
        out=out,
        model=resolved.with_rate(rate),
        network=resolved.network,
        persona_model=persona_model,
        judge_model=judge_model,
        persona_options=dict(persona_options),
        judge_options=dict(judge_options),
        rate=rate,
        config=SftConfig(
            flow=chosen_flow,
            num_turns=turns,
            max_retries=retries,
            max_concurrent=rate.max_in_flight,
            max_tokens_total=max_tokens_total,
            retry_rejected=retry_rejected,
            accept_changes=accept_changes,
            outage_patience=outage_patience,
            grace_seconds=grace,
            max_tool_turns=agent.max_tool_turns,
            system_prompt=agent.system_prompt,
            system_prompt_append=agent.system_prompt_append,
            date=agent.date,
            model_profile=agent.model_profile,
        ),
        cluster=cluster,
        arguments=given_arguments(ctx),
    )
    return execute_sft(command, as_json=json_progress, quiet=quiet, notes=notes)
