"""Names of 0.1 that still work, with a DeprecationWarning; they will be removed in 0.3."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

RENAMED = {
    "AgentsFailed": "AgentsFailedError",
    "BadJobs": "BadJobsError",
    "BudgetExhausted": "BudgetExhaustedError",
    "Cancelled": "JobCancelled",
    "Conversation": "Transcript",
    "DeadlineExceeded": "DeadlineExceededError",
    "Done": "JobDone",
    "Failed": "JobFailed",
    "Job": "RunnerJob",  # of nursery_runner; the others have a Job of their own
    "Pacer": "RateLimiter",
    "PacerStatistics": "RateLimiterStatistics",
    "PriceUnknown": "PriceUnknownError",
    "SandboxUnavailable": "SandboxUnavailableError",
    "look_at": "read_run_status",
}


def old_names(module: str, *, stacklevel: int = 2) -> Callable[[str], object]:
    """A module's ``__getattr__`` that resolves old names to the new ones of *module*."""

    def get(name: str) -> object:
        new = RENAMED.get(name, "")
        value = getattr(sys.modules[module], new, None) if new else None
        if value is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {module}.{new}", DeprecationWarning, stacklevel=stacklevel)
        return value

    return get
