"""``trioagent batch``: run many jobs, and resume them."""

from __future__ import annotations

from pathlib import Path

import click

from .._config import BatchConfig, RateLimits, SandboxLimits, Shard
from .._descriptors import hard_limit
from ..batch import BadJobsError, fit_to_descriptors, survey_jobs
from ..runtime import Cluster
from ._batch_drop import drop_failed_command
from ._batch_dry_run import print_plan
from ._batch_merge import merge_command
from ._batch_run import BatchCommand, execute_batch
from ._batch_source import open_jobs
from ._batch_status import status
from ._cluster_options import cluster_options
from ._errors import USAGE
from ._model_options import (
    FileType,
    FolderType,
    PolicyChoice,
    PromptChoice,
    agent_config,
    display_options,
    model_options,
    outage_option,
    policy_options,
    prompt_options,
    rate_options,
    resolve_model,
    token_budget_option,
    tool_turns_option,
)
from ._profiles import ModelChoice
from ._terminal import one_line

_RUN = "(jobs)"  # the internal name of the default sub-command, never typed by a user
_ARGUMENTS = "trioagent.batch.arguments"


class _SameName(click.Context):
    """The context of a command that is called by its group's name."""

    @property
    def command_path(self) -> str:
        return super().command_path.rstrip()


class _Group(click.Group):
    """A group whose first argument may be a sub-command, and is a jobs file otherwise."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            ctx.meta[_ARGUMENTS] = tuple(args)
            args = [_RUN, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == _RUN else name, command, rest


class _Jobs(click.Command):
    context_class = _SameName


class ShardType(click.ParamType[Shard]):
    """``2/8``."""

    name = "shard"

    def convert(self, value: str | Shard, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        return value if isinstance(value, Shard) else Shard.parse(value)


@click.group(cls=_Group)
def batch() -> None:
    """Run the jobs of a file, or resume them (`batch status DIR` shows the state of a run)."""


batch.add_command(status)
batch.add_command(drop_failed_command)
batch.add_command(merge_command)


@batch.command(_RUN, cls=_Jobs)
@click.argument("jobs", metavar="JOBS", type=FileType(path_type=Path))
@click.option(
    "--run-dir",
    required=True,
    metavar="DIR",
    type=FolderType(file_okay=False, path_type=Path),
    help="The folder for the journal and the outputs. With the same one the batch is resumed.",
)
@model_options
@prompt_options
@policy_options
@click.option(
    "--max-concurrent", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="Jobs at once."
)
@rate_options
@click.option(
    "--deadline",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    help="For one job, not counting waits for a rate limit or a retry.",
)
@token_budget_option
@click.option(
    "--max-cost", metavar="MONEY", type=click.FloatRange(0, min_open=True), help="Stop before more money is spent."
)
@click.option(
    "--prompt-price", metavar="MONEY", type=click.FloatRange(0), help="Of a million tokens that the model reads."
)
@click.option(
    "--completion-price", metavar="MONEY", type=click.FloatRange(0), help="Of a million tokens that the model writes."
)
@tool_turns_option
@click.option("--retry-failed", is_flag=True, help="Retry jobs that have failed or got no reply.")
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Resume with another model, prompt, policy, sampling, number of tool turns or shard.",
)
@click.option(
    "--shard",
    metavar="I/N",
    type=ShardType(),
    help="Run only part I of N of the jobs (jobs of one memory are in one part), to be merged by `batch merge`.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Run only N of the jobs that have not ended.")
@outage_option
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="How long running jobs may continue after the first Ctrl-C, to their next checkpoint.",
)
@click.option(
    "--history",
    is_flag=True,
    help="Keep every change of the notes, so that a job or the batch can be undone (`trioagent memory undo`).",
)
@cluster_options
@click.option("--dry-run", is_flag=True, help="Show what would run; spend nothing, write nothing.")
@display_options
@click.pass_context
def run_jobs(
    ctx: click.Context,
    *,
    jobs: Path,
    run_dir: Path,
    model: ModelChoice,
    policy: PolicyChoice,
    prompt: PromptChoice,
    max_concurrent: int,
    rpm: float | None,
    tpm: float | None,
    deadline: float | None,
    max_tokens_total: int | None,
    max_cost: float | None,
    prompt_price: float | None,
    completion_price: float | None,
    max_tool_turns: int | None,
    retry_failed: bool,
    accept_changes: bool,
    shard: Shard | None,
    limit: int | None,
    outage_patience: float,
    grace: float,
    history: bool,
    cluster: Cluster | None,
    dry_run: bool,
    json_progress: bool,
    quiet: bool,
) -> int:
    """Run the jobs in JOBS, or resume them. `trioagent batch status DIR` shows the state of a run.

    JOBS, or stdin if it is -, has a JSON object a line: {"id": "a", "memory": "memories/a", "messages": ["I moved to
    Berlin."]}, where "model", "options" (such as {"temperature": 0}), "system_prompt", "system_prompt_append", "policy"
    (such as {"read_only": true}), "blind_overwrite", "deadline" and "metadata" may be added. Every row is checked
    before anything is spent. A run has no default model: name one.

    The same command again resumes a run, however it ended: no answer that was paid for is requested again, and
    no code runs twice. The first Ctrl-C (or SIGTERM, or a terminal that closes) starts no new job and lets
    running ones reach their next checkpoint; the second one stops at once.

    \b
    In the run directory: conversations.jsonl (a row for each job that is done),
    failures.jsonl, report.json; a batch is resumed from journal.db.

    With --ray, requests are sent from the machines of a cluster and blocks run there; journal, rates, budget and notes
    stay here.

    Budgets and spending count all runs with one run directory. Progress and messages go to stderr.

    \b
    Exit codes: 0 all done (or --limit reached), 1 some failed or are without a reply, 2 bad
    rows or options, 3 stopped (budget or quota used up, server unavailable, disk full), 130
    interrupted; after 3 and 130 the same command resumes the run.
    """
    source = ctx.with_resource(open_jobs(jobs))
    try:
        survey = survey_jobs(source.path, name=source.name, shard=shard)
    except BadJobsError as bad:
        return report_bad_rows(bad)
    resolved = resolve_model(model, required=True)
    rate, note = fit_concurrency(
        max_concurrent,
        "jobs",
        models=1 + len(survey.models),
        rpm=model.profile.rpm if rpm is None else rpm,
        tpm=model.profile.tpm if tpm is None else tpm,
    )
    notes = [line for line in (*resolved.notes, note) if line]
    agent = agent_config(model.profile, max_tool_turns, prompt)
    command = BatchCommand(
        jobs=source,
        total=survey.jobs,
        run_dir=run_dir,
        model=resolved.with_rate(rate),
        rate=rate,
        network=resolved.network,
        config=BatchConfig(
            max_concurrent=rate.max_in_flight,
            deadline=deadline,
            max_tokens_total=max_tokens_total,
            max_cost=max_cost,
            prompt_price=prompt_price,
            completion_price=completion_price,
            retry_failed=retry_failed,
            accept_changes=accept_changes,
            limit=limit,
            shard=shard,
            outage_patience=outage_patience,
            grace_seconds=grace,
            max_tool_turns=agent.max_tool_turns,
            system_prompt=agent.system_prompt,
            system_prompt_append=agent.system_prompt_append,
            date=agent.date,
            model_profile=agent.model_profile,
            blind_overwrite=agent.blind_overwrite,
            policy=policy.over(model.profile),
        ),
        history=history,
        cluster=cluster,
        arguments=ctx.meta[_ARGUMENTS],
    )
    if dry_run:
        for note in notes:
            click.echo(f"note: {one_line(note)}", err=True)
        print_plan(command)
        return 0
    return execute_batch(command, as_json=json_progress, quiet=quiet, notes=notes)


def fit_concurrency(
    asked: int, what: str, *, models: int, rpm: float | None, tpm: float | None
) -> tuple[RateLimits, str]:
    """The rate limits of the model for *asked* concurrent jobs, and a note if fewer can run, else "".

    Concurrency is limited by the file descriptors that the process may open: `open_runtime` raises the soft limit to
    the hard one.

    Args:
        what: the kind of jobs, for the note.
    """
    room = fit_to_descriptors(asked, hard_limit(), blocks=SandboxLimits().parallel, models=models)
    places, note = room.max_concurrent, ""
    if places < asked:
        note = (
            f"{places} {what} at once instead of {asked}, since this process may open only {hard_limit():.0f} files "
            "(see `ulimit -n`)"
        )
    rate = RateLimits(requests_per_minute=rpm, tokens_per_minute=tpm, max_in_flight=places, max_idle=room.max_idle)
    return rate, note


def report_bad_rows(bad: BadJobsError) -> int:
    """Print every bad row of a file; returns the exit code."""
    for line in str(bad).splitlines():
        click.echo(f"error: {one_line(line)}" if not line.startswith(" ") else f"  {one_line(line)}", err=True)
    return USAGE
