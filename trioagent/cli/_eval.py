"""``trioagent eval``: evaluates an agent's memory on a suite of samples."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import click
import trio

from .._config import BatchConfig, ModelConfig
from .._network import NetworkConfig
from ..models import OFFLINE_RULES
from ..runtime import Cluster
from ._batch import fit_concurrency
from ._batch_progress import Display
from ._batch_run import resume_command, run_with_display, stop_reason
from ._batch_text import duration
from ._cluster_options import cluster_options, on_cluster
from ._errors import INTERRUPTED, STOPPED
from ._model_options import (
    FileType,
    FolderType,
    PolicyChoice,
    PromptChoice,
    RunCommand,
    agent_config,
    display_options,
    given_arguments,
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
from ._runtime import open_command_runtime
from ._terminal import safe

if TYPE_CHECKING:
    from .._config import RateLimits
    from ..evals import Baseline, CategoryScore, Comparison, EvalReport, Sample

_DEFAULTS = BatchConfig()
_RUN = "run"


class _EvalGroup(click.Group):
    """A group whose first word may be a suite, which is then run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            return _RUN, self.commands[_RUN], args
        return super().resolve_command(ctx, args)


@click.group("eval", cls=_EvalGroup, subcommand_metavar="SUITE [OPTIONS] | list | compare A B")
def evaluate() -> None:
    """Evaluate an agent's memory on a suite of samples.

    \b
      trioagent eval list                                   the suites that are installed
      trioagent eval md-memory --model M --out evals/m      run one (`trioagent eval run --help`)
      trioagent eval compare evals/m evals/n                two runs on the same samples
    """


@evaluate.command(_RUN, cls=RunCommand)
@click.argument("suite")
@click.option("--data", metavar="PATH", type=FileType(path_type=Path), help="The suite's data, if it is not included.")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=FolderType(file_okay=False, path_type=Path),
    help="The folder for results, notes and journal. With the same one the run is resumed.",
)
@model_options
@click.option(
    "--judge-model",
    metavar="NAME",
    help="A model that grades replies, in place of matching them with the expected ones.",
)
@click.option(
    "--baseline",
    type=click.Choice(["agent", "full-context", "search-only"]),
    default="agent",
    show_default=True,
    help="Who answers: the agent; its model with all notes in the prompt; the best lines of a search.",
)
@click.option(
    "--noise",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Add N notes about other things to every memory.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Take only N samples, of all categories.")
@click.option(
    "--max-concurrent",
    metavar="N",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_concurrent,
    show_default=True,
    help="Samples at once.",
)
@tool_turns_option
@prompt_options
@policy_options
@rate_options
@click.option(
    "--deadline", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Working seconds for one sample."
)
@token_budget_option
@click.option("--retry-failed", is_flag=True, help="Retry samples that failed.")
@click.option("--accept-changes", is_flag=True, help="Resume with other settings than the run was begun with.")
@outage_option
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=_DEFAULTS.grace_seconds,
    show_default=True,
    help="How long samples may continue to their next checkpoint after the first Ctrl-C.",
)
@cluster_options
@display_options
@click.pass_context
def run(
    ctx: click.Context,
    *,
    suite: str,
    data: Path | None,
    out: Path,
    model: ModelChoice,
    judge_model: str | None,
    baseline: str,
    noise: int,
    limit: int | None,
    max_concurrent: int,
    max_tool_turns: int | None,
    prompt: PromptChoice,
    policy: PolicyChoice,
    rpm: float | None,
    tpm: float | None,
    deadline: float | None,
    max_tokens_total: int | None,
    retry_failed: bool,
    accept_changes: bool,
    outage_patience: float,
    grace: float,
    cluster: Cluster | None,
    json_progress: bool,
    quiet: bool,
) -> int:
    """Run a SUITE, and print its scores by category.

    Every sample gets a fresh copy of its memory. Messages that set up a memory are sent once, and all its samples start
    from the resulting notes. The same command again resumes a run, however it ended.

    \b
    In DIR: samples.jsonl (a row for each sample: score, reason, transcript, notes before
    and after), failures.jsonl, eval.json (the table), report.json, set-ups/ (the notes
    that samples start from).

    The last line of the output is the accuracy: the mean score with its 95 % interval. A sample that failed scores 0.

    \b
    Exit codes: 0 all samples were graded, 1 some failed, 2 bad input, 3 stopped (budget or
    quota used up, server unavailable, disk full), 130 interrupted; after 3 and 130 the same
    command resumes the run.
    """
    from ..evals import check_baseline, find_suite, load_samples  # imported on use: 30 ms

    chosen = find_suite(suite)
    samples = load_samples(chosen, data, limit=limit)
    if baseline == "search-only" and model.model is None:
        model = attrs.evolve(model, model=OFFLINE_RULES)  # required, but not asked
    resolved = resolve_model(model, required=True)
    check_baseline(baseline, resolved.model if isinstance(resolved.model, str) else resolved.model.model)
    rate, note = fit_concurrency(
        max_concurrent,
        "samples",
        models=1 + (judge_model is not None),
        rpm=model.profile.rpm if rpm is None else rpm,
        tpm=model.profile.tpm if tpm is None else tpm,
    )
    agent = agent_config(model.profile, max_tool_turns, prompt)
    command = EvalCommand(
        suite=chosen.name,
        samples=samples,
        out=out,
        model=resolved.with_rate(rate),
        judge_model=judge_model,
        baseline=cast("Baseline", baseline),
        noise=noise,
        rate=rate,
        network=resolved.network,
        config=BatchConfig(
            max_concurrent=rate.max_in_flight,
            deadline=deadline,
            max_tokens_total=max_tokens_total,
            retry_failed=retry_failed,
            accept_changes=accept_changes,
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
        cluster=cluster,
        arguments=given_arguments(ctx),
    )
    notes = [line for line in (*resolved.notes, note) if line]
    return execute_eval(command, as_json=json_progress, quiet=quiet, notes=notes)


@evaluate.command("list")
def list_suites() -> None:
    """The suites that are installed."""
    from ..evals import find_suite, suite_names

    for name in suite_names():
        suite = find_suite(name)
        needs = f" (--data: {suite.source})" if suite.source else ""
        click.echo(f"{name:20} {suite.summary}{needs}")


@evaluate.command()
@click.argument("first", type=FolderType(exists=True, file_okay=False, path_type=Path))
@click.argument("second", type=FolderType(exists=True, file_okay=False, path_type=Path))
def compare(first: Path, second: Path) -> None:
    """Compare two runs, the folders FIRST and SECOND, on the samples that both have.

    The difference has a 95 % interval by a paired bootstrap; the p-values are two-sided, of the bootstrap and of
    McNemar's exact test on the samples that only one of the two has right.
    """
    from ..evals import compare_runs, samples_apart

    total, by_category = compare_runs(first, second)
    names = [*by_category, "all"]
    wide = max(map(len, names))
    click.echo(f"{'':{wide}}  samples   first  second  difference (95 %)            only 1st  only 2nd  McNemar")
    for name, one in zip(names, [*by_category.values(), total], strict=True):
        click.echo(_compared(name, wide, one))
    if any(apart := samples_apart(first, second)):
        click.echo(f"not compared: {apart[0]:,} samples graded in {first} only, and {apart[1]:,} in {second} only")
    click.echo(
        f"difference {total.difference:+.3f} ({total.low:+.3f} to {total.high:+.3f}), "
        f"bootstrap p {total.p_bootstrap:.3g}, McNemar p {total.p_mcnemar:.3g}"
    )


def _compared(name: str, wide: int, one: Comparison) -> str:
    difference = f"{one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
    return (
        f"{name:{wide}}  {one.samples:7,}  {one.first:6.3f}  {one.second:6.3f}  {difference:28}"
        f"{one.only_first:8,}  {one.only_second:8,}  {one.p_mcnemar:7.3g}"
    )


@attrs.frozen(kw_only=True)
class EvalCommand:
    """The evaluation of a command line.

    Attributes:
        arguments: the command's own arguments, for the command line that resumes the run.
    """

    suite: str
    samples: list[Sample]
    out: Path
    model: str | ModelConfig
    judge_model: str | None
    baseline: Baseline
    noise: int
    rate: RateLimits
    network: NetworkConfig
    config: BatchConfig
    cluster: Cluster | None
    arguments: tuple[str, ...]

    def to_resume(self, *more: str) -> str:
        return resume_command(["eval"], self.arguments, more)


def execute_eval(command: EvalCommand, *, as_json: bool, quiet: bool, notes: list[str]) -> int:
    """Run the evaluation and print its table; returns the exit code."""
    reports: list[EvalReport] = []

    async def run_it(display: Display, stop: trio.Event) -> EvalReport:
        reports.append(await _run_eval(command, display, stop))
        return reports[0]

    code = run_with_display(
        run_it,
        notice=f"no new sample starts; running ones have {command.config.grace_seconds:g} s to their next checkpoint",
        batch_report=lambda report: report.run,
        summary=partial(_summary_lines, command, quiet=quiet),
        as_json=as_json,
        quiet=quiet,
        notes=notes,
    )
    if reports and not as_json:
        for line in table(reports[0]):
            click.echo(safe(line))
    return code


async def _run_eval(command: EvalCommand, display: Display, stop: trio.Event) -> EvalReport:
    from ..evals import run_eval

    async with (
        open_command_runtime(command.model, rate=command.rate, network=command.network) as own,
        on_cluster(own, command.cluster) as runtime,
        AsyncExitStack() as models,
    ):
        judge = None
        if command.judge_model is not None:
            judge = await models.enter_async_context(runtime.open_model(command.judge_model))
        return await run_eval(
            command.samples,
            suite=command.suite,
            runtime=runtime,
            run_dir=command.out,
            config=command.config,
            judge=judge,
            baseline=command.baseline,
            noise=command.noise,
            stop=stop,
            on_progress=display.progress,
        )


def _summary_lines(command: EvalCommand, code: int, report: EvalReport | None, *, quiet: bool) -> list[str]:
    """The summary for the user; empty for a complete success if *quiet*."""
    if report is None:
        return [f"interrupted; what was finished is kept; to resume: {command.to_resume()}"]
    run, lines = report.run, list[str]()
    if report.unjudged:
        lines.append(
            f"{report.unjudged:,} samples: the judge gave no usable grade, so they were graded without it; see "
            f"judge_problem in {report.samples_file}"
        )
    lines += [f"  {one.count:,} × {one.cause}, such as {one.example}: {one.message}" for one in run.causes]
    if failed := run.failed + run.skipped_failed:
        again = command.to_resume("--retry-failed")
        lines.append(f"failed: {failed:,}; see {report.failures_file}; to retry them: {again}")
    if run.stopped == "budget":
        lines.append(f"stopped: {run.reason}; to resume, give a larger --max-tokens-total: {command.to_resume()}")
    elif code == STOPPED:
        lines.append(f"stopped: {stop_reason(run)}, go on: {command.to_resume()}")
    elif code == INTERRUPTED:
        lines.append(f"interrupted; to resume: {command.to_resume()}")
    if not quiet:
        lines.append(f"{run.tokens_total:,} tokens, {duration(run.seconds)}; in {command.out}")
    return lines


def table(report: EvalReport) -> list[str]:
    """The scores by category; the last line is the accuracy."""
    rows = [*report.categories, report.total]
    wide = max(len(row.category) for row in rows)
    head = ["samples", "failed", "score", "95 %", "tokens", "turns", "blocks", "repairs", "cuts", "seconds", "cost"]
    widths = [7, 6, 6, 14, 8, 6, 6, 7, 5, 8, 8]
    cells = [head, *(_cells(row) for row in rows)]
    lines = [
        "  ".join([f"{name:{wide}}", *(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))])
        for name, row in zip(["", *(row.category for row in rows)], cells, strict=True)
    ]
    total = report.total
    lines.append(
        f"accuracy {total.score:.3f} ({total.low:.3f} to {total.high:.3f}) {report.suite} {report.baseline} "
        f"{report.model or 'no model'}, {total.samples:,} samples"
    )
    return lines


def _cells(row: CategoryScore) -> list[Any]:
    return [
        f"{row.samples:,}",
        f"{row.failed:,}",
        f"{row.score:.3f}",
        f"{row.low:.3f} to {row.high:.3f}"[:14],
        f"{row.tokens:,.0f}",
        f"{row.turns:.1f}",
        f"{row.blocks:.1f}",
        f"{row.repairs:.2f}",
        f"{row.cuts:.2f}",
        f"{row.seconds:.2f}",
        f"{row.cost:.4f}",
    ]
