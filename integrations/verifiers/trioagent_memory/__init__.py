"""Memory tasks of trioagent for verifiers: ``vf-eval trioagent-memory``.

The taskset is any suite of `trioagent.evals`; the harness plays a task with a trioagent agent over a fresh copy of its
notes, whose model is the endpoint that verifiers watches.
"""

from __future__ import annotations

from .harness import MemoryHarness
from .taskset import MemoryTaskset

__all__ = ["MemoryHarness", "MemoryTaskset"]
