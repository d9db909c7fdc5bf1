"""Errors of a cluster."""

from __future__ import annotations

from .._errors import FatalError


class ClusterError(FatalError):
    """The cluster cannot be used, or has no worker left. What was journaled is kept: the run can go on elsewhere.

    Attributes:
        problem: what happened, where, and what to do.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem: str = problem

    def __str__(self) -> str:
        return f"the cluster: {self.problem}"


class WorkerLostError(Exception):  # internal: its tasks go to another worker
    """A worker does not answer any more: its process, its machine or the network between is gone."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class WorkerRefusedError(Exception):  # internal: becomes a ClusterError if no other worker is left
    """A worker may not work: another version, no sandbox, or the tier is not the one asked for."""

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(node, problem)
        self.node, self.problem = node, problem
