"""Runs model-written code: confined, over a private view of the notes, each block as one transaction.

Names are imported on first use: sandbox processes import `_guest`, a package in here, without the rest.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from ._hidden_names import look_for_hidden as look_for_hidden
    from ._probe import Check as Check
    from ._probe import TierReport as TierReport
    from ._probe import check_control_group as check_control_group
    from ._probe import diagnose as diagnose
    from ._probe import open_sandbox as open_sandbox
    from ._review import AcceptChanges as AcceptChanges
    from ._review import EditChanges as EditChanges
    from ._review import RejectChanges as RejectChanges
    from ._review import ReviewDecision as ReviewDecision
    from ._review import Reviewer as Reviewer
    from ._review import ReviewPolicy as ReviewPolicy
    from ._review import ReviewRequest as ReviewRequest
    from ._review import edited_diff as edited_diff
    from ._sandbox import TIERS as TIERS
    from ._sandbox import BlockResult as BlockResult
    from ._sandbox import Executor as Executor
    from ._sandbox import HostTool as HostTool
    from ._sandbox import Outcome as Outcome
    from ._sandbox import Sandbox as Sandbox

_PLACES = {
    "_hidden_names": "look_for_hidden",
    "_probe": "Check TierReport check_control_group diagnose open_sandbox",
    "_review": "AcceptChanges EditChanges RejectChanges ReviewDecision Reviewer ReviewPolicy ReviewRequest edited_diff",
    "_sandbox": "TIERS BlockResult Executor HostTool Outcome Sandbox",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _PLACES)
