"""Errors of a cluster."""

from __future__ import annotations

from .._errors import FatalError


class ClusterError(FatalError):
    """The cluster cannot be used, or has no worker left. What was journaled is kept: the run can be resumed elsewhere.

    Attributes:
        problem: what happened, where, and what to do.
        lost: it was in use until then.
    """

    def __init__(self, problem: str, lost: bool = False) -> None:
        super().__init__(problem, lost)
        self.problem: str = problem
        self.lost: bool = lost

    def __str__(self) -> str:
        return f"the cluster: {self.problem}" + ("; with one that works, the same run goes on" if self.lost else "")


class WorkerLostError(Exception):  # internal: its tasks are given to another worker
    """A worker does not answer any more: its process or its machine is gone, or the network is down."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class WorkerRefusedError(Exception):  # internal: becomes a ClusterError if no other worker is left
    """A worker must not be used: it has another version, no sandbox, or not the requested tier."""

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(node, problem)
        self.node, self.problem = node, problem
