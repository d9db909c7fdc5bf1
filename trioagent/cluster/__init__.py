"""Runs on more than one machine: Ray places workers; the driver keeps the journal, the rates and the notes.

Names are imported on first use, and Ray (the extra ``ray``) when a cluster is opened.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from ._errors import ClusterError as ClusterError
    from ._local import LocalCluster as LocalCluster
    from ._ray import RayCluster as RayCluster
    from ._remote import idempotent as idempotent
    from ._stage import AgentStage as AgentStage
    from ._stage_rows import StageStoppedError as StageStoppedError
    from ._trio_thread import StageClosedError as StageClosedError

_PLACES: dict[str, str] = {
    "_errors": "ClusterError",
    "_local": "LocalCluster",
    "_ray": "RayCluster",
    "_remote": "idempotent",
    "_stage": "AgentStage",
    "_stage_rows": "StageStoppedError",
    "_trio_thread": "StageClosedError",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _PLACES)
