"""The interface of a runtime to a cluster, on whose machines its requests are sent and its blocks run."""

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
        epoch: the number of this worker among all of this run; a result of an earlier one is refused.
        state: "starting", "working", "silent" (it has not answered for a while), "lost" (its process or machine),
            "refused" (it may not work, because of *problem*), or "ended".
        tier: the sandbox tier that runs its blocks; "" while it is not known.
        running: requests and blocks that were sent to it and are not answered.
        answers, blocks: how many it has answered.
        problem: why it was lost or refused, as text; "" otherwise.
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
    """What a cluster has done for a run.

    Attributes:
        nodes: the workers, including those that were lost.
        lost: workers that were lost, alone or with their machine.
        asked_again: model requests that were sent again, because a worker was lost before its answer was acknowledged.
        run_again: blocks that were run again, because the worker was lost before their changes were committed.
        refused: results that came from a fenced worker, and were not used.
    """

    nodes: tuple[NodeStatus, ...]
    lost: int
    asked_again: int
    run_again: int
    refused: int


class RemoteWork(Protocol):
    """Sends the requests of a runtime's models from other machines."""

    def sender(self, config: ModelConfig) -> RequestSender:
        """A sender of requests to the address of *config*."""

    def model(self, model: Model | OfflineRules) -> Model:
        """A model that answers like *model*, on a worker.

        Raises:
            InvalidInputError: it cannot be sent there.
        """

    def use(self) -> ClusterUse:
        """What the cluster has done so far."""


def nodes_of(remote: RemoteWork | None) -> Sequence[NodeStatus]:
    """The workers of a runtime's cluster; none if it has no cluster."""
    return () if remote is None else remote.use().nodes
