"""How large a chaos run is, and how hard."""

from __future__ import annotations

import json
from typing import Self

import attrs

STEADY_FIRST = 10_000_000
"""Numbers of the steady part's jobs: far from those of the rounds."""


@attrs.frozen(kw_only=True)
class Plan:
    """Everything a chaos run depends on, but for the machine's timing.

    Attributes:
        seed: of all that is drawn: jobs, faults, disturbances.
        agents: jobs at once.
        jobs: in one round, which is a run directory of its own. Rounds follow each other until the time is over.
        seconds: how long the batch is killed and stopped from outside; the round at hand is then let through.
        steady_seconds: how long one process goes on after that with faults and cancels, but no kills, to see whether it
            grows.
        steady_jobs: how many jobs it takes at most.
        calm: mean seconds between two disturbances.
        patience: seconds that the batch's user gives one exchange with the server.
        latency: the longest that a right answer lets wait.
        tier: the sandbox tier to insist on; the best that works otherwise.
        storm_every, storm_seconds: how often, and for how long, the server says to everybody that it is overloaded.
        outage_every, outage_seconds: how often, and for how long, it is away for everybody; every third time its quota
            is used up instead (but not in the steady part, whose process is not started again).
    """

    seed: int = 1
    agents: int = 30
    jobs: int = 60
    seconds: float = 30.0
    steady_seconds: float = 10.0
    steady_jobs: int = 10**9
    calm: float = 2.0
    patience: float = 2.0
    latency: float = 0.1
    tier: str | None = None
    storm_every: float = 10.0
    storm_seconds: float = 0.2
    outage_every: float = 15.0
    outage_seconds: float = 1.5

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
