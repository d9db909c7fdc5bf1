"""``trioagent batch merge``: merges the shards of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from ..batch import MergeReport, ShardSummary, merge_shards
from ._errors import FAILED, STOPPED
from ._model_options import debug_option
from ._terminal import safe


@click.command("merge")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.argument("run_dirs", metavar="SHARD_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Merge shards of different jobs files, models, prompts or other settings.",
)
@debug_option
def merge_command(out: Path, run_dirs: tuple[Path, ...], accept_changes: bool) -> int:
    """Merge the run directories of shards (`batch --shard I/N`) into folder OUT.

    OUT gets conversations.jsonl, failures.jsonl and report.json of all of them, and a journal.db to look at
    (`batch status`, `view`). It is replaced atomically, and only if it contains merged shards already: when an
    unfinished shard has been resumed, run the same command again. The shards are only read.

    \b
    Exit codes: 0 all shards are there and all of their jobs are done, 1 some failed or are
    without a reply, 2 the shards do not belong together, 3 shards are missing or unfinished.
    """
    report = merge_shards(out, run_dirs, accept_changes=accept_changes)
    for line in _lines(report):
        click.echo(safe(line))
    if not report.complete:
        return STOPPED
    return FAILED if report.failed or report.no_reply else 0


def _lines(report: MergeReport) -> Iterator[str]:
    count = len(report.shards) + len(report.missing)
    parts = [f"{report.done:,} done", f"{report.failed:,} failed"]
    if report.no_reply:
        parts.append(f"{report.no_reply:,} without a reply")
    parts += [*_rest(report.left, report.not_begun)]
    cost = f", cost {report.cost:.4g}" if report.cost else ""
    yield (
        f"{', '.join(parts)}; {report.tokens:,} tokens{cost}; "
        f"{len(report.shards):,} of {count:,} shards in {report.run_dir}"
    )
    for one in report.causes:
        yield f"  {one.count:,} × {one.cause}, such as {one.example}: {one.message}"
    for name, folder, value, elsewhere, other in report.accepted:
        yield f"accepted: {name} is {value} in {folder} and {other} in {elsewhere}"
    for shard in report.shards:
        if shard.unfinished:
            yield _unfinished(shard)
    if report.missing:
        yield f"missing: {', '.join(report.missing)}"


def _unfinished(shard: ShardSummary) -> str:
    rest = ", ".join(_rest(shard.left, shard.not_begun))
    return f"unfinished: {shard.run_dir} ({shard.shard}): {shard.unfinished}{'; ' if rest else ''}{rest}"


def _rest(left: int, not_begun: int | None) -> Iterator[str]:
    if left:
        yield f"{left:,} to resume"
    if not_begun:
        yield f"{not_begun:,} not begun"
