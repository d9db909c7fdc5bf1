"""``--ray`` and its options: a run on more than one machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import click

from ..runtime import Cluster, Runtime


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one argument ``cluster``: a `RayCluster`, None without ``--ray``."""

    @functools.wraps(command)
    def gathered(
        *args: Any, ray: str | None, workers: int | None, worker_cpus: float | None, lesser_tiers: bool, **kwargs: Any
    ) -> Any:
        given = {"--workers": workers, "--worker-cpus": worker_cpus, "--lesser-tiers": lesser_tiers or None}
        if ray is None:
            for option, value in given.items():
                if value is not None:
                    raise click.UsageError(f"{option} needs --ray: without it there are no workers.")
            return command(*args, cluster=None, **kwargs)
        from ..cluster import RayCluster  # imported on use: a run on one machine does not need it

        cpus = 1.0 if worker_cpus is None else worker_cpus
        cluster = RayCluster(address=ray or None, workers=workers, worker_cpus=cpus, lesser_tiers=lesser_tiers)
        return command(*args, cluster=cluster, **kwargs)

    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--ray",
            metavar="[HOST:PORT]",
            is_flag=False,
            flag_value="",
            help="Send requests and run blocks on a Ray cluster: the one with this head, or this machine's own.",
        ),
        click.option(
            "--workers", metavar="N", type=click.IntRange(min=1), help="With --ray: workers; by default one a machine."
        ),
        click.option(
            "--worker-cpus",
            metavar="N",
            type=click.FloatRange(0),
            help="With --ray: processors that are reserved for each worker.  [default: 1]",
        ),
        click.option(
            "--lesser-tiers",
            is_flag=True,
            help="With --ray: also use machines where only a lesser sandbox tier works than here.",
        ),
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def on_cluster(runtime: Runtime, cluster: Cluster | None) -> AbstractAsyncContextManager[Runtime]:
    """*runtime*, on the cluster if there is one."""
    return nullcontext(runtime) if cluster is None else cluster.open(runtime)
