"""What a runtime needs of a cluster, when its requests are sent and its blocks run on other machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import attrs

from ._config import ModelConfig
from .models import Model, OfflineRules, RequestSender

WorkerState = Literal["starting", "working", "silent", "lost", "refused", "ended"]


@attrs.frozen(kw_only=True)
class NodeStatus:
    """One worker of a cluster.

    Attributes:
        node: the name of its machine, and its process id there.
        epoch: the number of this worker among all that this run has had; a result of an earlier one is refused.
        state: "starting", "working", "silent" (it has not answered for a while), "lost" (its process or machine),
            "refused" (it may not work, for *problem*), or "ended".
        tier: the sandbox tier that runs its blocks; "" while it is not known.
        running: requests and blocks that it has been given and has not answered.
        answers, blocks: how many it has answered.
        problem: why it was lost or refused, in words; "" otherwise.
    """

    node: str
    epoch: int
    state: WorkerState
    tier: str
    running: int
    answers: int
    blocks: int
    problem: str = ""


@attrs.frozen(kw_only=True)
class ClusterUse:
    """What a run has had of its cluster.

    Attributes:
        nodes: the workers, those that were lost among them.
        lost: workers that were lost, with their machine or alone.
        asked_again: model requests that were sent again, because a worker was lost before its answer was acknowledged.
        run_again: blocks that were run again, because the worker was lost before their changes were committed.
        refused: results that came from a worker that had been given up, and were not used.
    """

    nodes: tuple[NodeStatus, ...]
    lost: int
    asked_again: int
    run_again: int
    refused: int


class RemoteWork(Protocol):
    """Sends the requests of a runtime's models from other machines."""

    def sender(self, config: ModelConfig) -> RequestSender:
        """What sends requests to the address of *config*."""

    def model(self, model: Model | OfflineRules) -> Model:
        """*model*, answering on a worker.

        Raises:
            InvalidInputError: it cannot be sent there.
        """

    def use(self) -> ClusterUse:
        """What has been had of the cluster so far."""


def nodes_of(remote: RemoteWork | None) -> Sequence[NodeStatus]:
    """The workers of a runtime's cluster; none if it has no cluster."""
    return () if remote is None else remote.use().nodes
