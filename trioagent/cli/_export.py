"""``trioagent export``: conversations of runs as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ._model_options import FolderType

if TYPE_CHECKING:
    from ..export import Format


@click.command()
@click.argument(
    "run_dirs",
    nargs=-1,
    required=True,
    metavar="RUN_DIR...",
    type=FolderType(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["trl", "axolotl", "openai", "parquet"]),
    default="trl",
    show_default=True,
    help="The program that reads it; parquet needs trioagent[parquet].",
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=FolderType(file_okay=False, path_type=Path),
    help="A new folder for the data set.",
)
@click.option(
    "--test-fraction",
    metavar="F",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="The share of personas whose conversations are for testing.",
)
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Chooses these personas.")
@click.option("--include-cut", is_flag=True, help="Include conversations with a cut answer or without a reply.")
@click.option("--include-failed", is_flag=True, help="Include rejected training conversations.")
@click.option(
    "--min-score",
    metavar="SCORE",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="The lowest score of an evaluation's samples.",
)
def export(
    run_dirs: tuple[Path, ...],
    format_: str,
    out: Path,
    test_fraction: float,
    seed: int,
    include_cut: bool,
    include_failed: bool,
    min_score: float,
) -> None:
    """Write the conversations of batches, training conversations and evaluations as a data set to train on.

    Results of code are messages of the user, as models were trained on them. Duplicate conversations are exported once,
    and no persona is on both sides of the split. Cut, failed and wrong ones are left out, and counted.

    \b
    In DIR: train and test files, provenance.jsonl (a line for each row), README.md (a
    data set card with how to load it).
    """
    from ..export import export_conversations

    report = export_conversations(
        run_dirs,
        out,
        format=cast("Format", format_),
        test_fraction=test_fraction,
        include_cut=include_cut,
        include_failed=include_failed,
        min_score=min_score,
        seed=seed,
    )
    click.echo(", ".join(f"{count:,} {split}" for split, count in sorted(report.rows.items())) + f"; in {out}")
    if report.left_out:
        click.echo("left out: " + ", ".join(f"{count:,} {why}" for why, count in sorted(report.left_out.items())))
