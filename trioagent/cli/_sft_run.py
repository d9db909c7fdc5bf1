"""Generate training conversations from the command line: exit codes and the final summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from .._config import ModelConfig, RateLimits, SftConfig
from .._network import NetworkConfig
from ..models import Model
from ..runtime import Cluster
from ._batch_progress import Display
from ._batch_run import resume_command, run_with_display, stop_reason
from ._batch_text import duration
from ._cluster_options import on_cluster
from ._errors import INTERRUPTED, STOPPED
from ._runtime import open_command_runtime
from ._terminal import shortened

if TYPE_CHECKING:
    from ..sft import SftReport

_REASON = 200  # characters of a reason that the table shows


@attrs.frozen(kw_only=True)
class SftCommand:
    """The conversations of a command line.

    Attributes:
        persona_model, judge_model: names; None for scripted personas and for no judge.
        persona_options, judge_options: their request parameters.
        arguments: the command's own arguments, for the command line that resumes the run.
    """

    personas: Sequence[object]
    facts: Sequence[object]
    out: Path
    model: str | ModelConfig
    persona_model: str | None
    judge_model: str | None
    persona_options: Mapping[str, Any]
    judge_options: Mapping[str, Any]
    rate: RateLimits
    network: NetworkConfig
    config: SftConfig
    cluster: Cluster | None
    arguments: tuple[str, ...]

    def to_resume(self, *more: str) -> str:
        return resume_command(["sft", "generate"], self.arguments, more)


def execute_sft(command: SftCommand, *, as_json: bool, quiet: bool, notes: list[str]) -> int:
    """Make the conversations; returns the exit code."""
    return run_with_display(
        partial(_run, command),
        notice=f"no new attempt begins; those under way have {command.config.grace_seconds:g} s to end",
        batch_report=lambda report: report.run,
        summary=partial(_summary_lines, command, quiet=quiet),
        as_json=as_json,
        quiet=quiet,
        notes=notes,
    )


async def _run(command: SftCommand, display: Display, stop: trio.Event) -> SftReport:
    from ..sft import ModelPersona, ScriptedPersona, generate_conversations

    config = command.config
    async with (
        open_command_runtime(command.model, rate=command.rate, network=command.network) as own,
        on_cluster(own, command.cluster) as runtime,
        AsyncExitStack() as models,
    ):

        async def opened(name: str | None, options: Mapping[str, Any]) -> Model | None:
            return None if name is None else await models.enter_async_context(runtime.open_model(name, options))

        playing = await opened(command.persona_model, command.persona_options)
        judge = await opened(command.judge_model, command.judge_options)
        factory: Callable[..., Any] = ScriptedPersona if playing is None else partial(ModelPersona, playing)
        return await generate_conversations(
            command.personas,
            command.facts,
            partial(factory, flow=config.flow, num_turns=config.num_turns),
            runtime=runtime,
            run_dir=command.out,
            config=config,
            judge=judge,
            stop=stop,
            on_progress=display.progress,
        )


def _summary_lines(command: SftCommand, code: int, report: SftReport | None, *, quiet: bool) -> list[str]:
    """The summary for the user; empty for a complete success if *quiet*."""
    if report is None:
        return [f"interrupted; what was finished is kept; to resume: {command.to_resume()}"]
    lines = []
    if code or not quiet:
        lines += table(command, report)
    if report.rejected:
        lines.append(f"to retry the rejected ones: {command.to_resume('--retry-rejected')}")
    match report.run.stopped:
        case "budget":
            lines.append(
                f"stopped: {report.run.reason}; to resume, give a larger --max-tokens-total: {command.to_resume()}"
            )
        case _ if code == STOPPED:
            lines.append(f"stopped: {stop_reason(report.run)}, go on: {command.to_resume()}")
    if code == INTERRUPTED:
        lines.append(f"interrupted; to resume: {command.to_resume()}")
    return lines


def table(command: SftCommand, report: SftReport) -> list[str]:
    """The figures of a run, a line each."""
    run, checks = report.run, Counter[str]()
    rejected = [persona for persona in report.personas if persona.state == "rejected"]
    for persona in report.personas:
        checks.update(persona.failed_checks)
    accepted = f"{report.accepted:,} of {len(report.personas):,} ({report.success_rate:.0%})"
    rows = [
        ("flow", command.config.flow),
        ("accepted", accepted + (f", {report.duplicates:,} of them said before" if report.duplicates else "")),
        ("rejected", f"{report.rejected:,}" + (f"; see {report.rejected_file}" if report.rejected else "")),
        ("to resume", f"{report.left:,}" if report.left else ""),
        ("attempts", f"{sum(persona.attempts for persona in report.personas):,}"),
        ("did not pass", ", ".join(f"{name} {count:,}" for name, count in checks.most_common())),
        ("for example", next((f"{one.id}: {shortened(one.reason, _REASON)}" for one in rejected), "")),
        ("tokens", ", ".join(f"{who} {count:,}" for who, count in sorted(report.tokens.items()))),
        ("cost", f"{run.cost_total:.4g}" if run.cost_total else ""),
        ("time", duration(run.seconds)),
        ("conversations", report.conversations),
    ]
    return [f"{name:14} {value}" for name, value in rows if value]
