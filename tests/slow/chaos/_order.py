"""What the supervisor tells one process of the batch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Self

import attrs

from ._plan import Plan

STOPPED = 3  # return code of a batch that a signal ended before all jobs had


@attrs.frozen(kw_only=True)
class Order:
    """What one process is to do.

    Attributes:
        plan: the run's.
        base_url: of the server.
        folder: holds ``run``, ``memories``, and ``samples.jsonl``, to which this process adds.
        first, count: the jobs' numbers.
        take_seconds: how long new jobs are taken, by some 200 at a time.
        mark: a number that shows in the command lines of all processes of this run, and of no other.
        cancel_seconds: how long the process cancels itself again and again.
        start: how often the batch has been started before.
        die_seconds: after so many seconds the process kills itself, at a step of its tasks that is drawn.
    """

    plan: Plan
    base_url: str
    folder: Path
    first: int
    count: int
    take_seconds: float
    mark: int
    cancel_seconds: float
    start: int
    die_seconds: float = math.inf

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self) | {"folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**fields | {"plan": Plan(**fields["plan"]), "folder": Path(fields["folder"])})
