"""Ray nodes of this machine, and processes that are started as daemons, as ``ray start`` does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs


@contextmanager
def home_of_processes(home: Path) -> Iterator[None]:
    """Afterwards, whatever was started with this home folder is killed."""
    try:
        yield
    finally:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


@attrs.define
class Nodes:
    """A cluster of Ray nodes on this machine; *cluster* is Ray's."""

    cluster: Any
    address: str

    def add(self, **options: Any) -> Any:
        return self.cluster.add_node(**{"num_cpus": 1, "object_store_memory": 80 * 2**20, **options})

    def kill(self, node: Any) -> None:
        """Kill a node with everything on it."""
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_one(self) -> None:
        """Kill one that is not the head."""
        self.kill(random.choice(sorted(self.cluster.worker_nodes, key=str)))


@contextmanager
def ray_nodes(count: int, **head: Any) -> Iterator[Nodes]:
    """A head without processors, and *count* nodes with one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False, **head}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    running = Nodes(cluster, cluster.address)
    try:
        for _ in range(count):
            running.add()
        yield running
    finally:
        cluster.shutdown()
