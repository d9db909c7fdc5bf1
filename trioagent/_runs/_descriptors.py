"""How many agents can run at once with so many file descriptors. Pure."""

from __future__ import annotations

import math

import attrs

BLOCK = 6
"""Descriptors of one running block: its socket, its pidfd, its layer, what is read and written at its commit."""
RESERVE = 128
"""For everything that does not grow with the agents: the event loop, the sandbox, the journal, name look-ups."""


@attrs.frozen(kw_only=True)
class Concurrency:
    """How many episodes run at once, and how many idle connections each model may keep.

    Attributes:
        descriptors: how many file descriptors that may need at most.
    """

    max_concurrent: int
    max_idle: int
    descriptors: int


def fit_to_descriptors(asked: int, limit: float, *, blocks: int, models: int = 1) -> Concurrency:
    """The most of *asked* episodes that can never run out of file descriptors.

    An episode holds one: the connection of its request, or its memory's folder. A connection that is not in use is kept
    for the next request, which spares a handshake; where descriptors are short, two thirds of them go to episodes and
    one third to idle connections.

    Args:
        asked: how many episodes at once are wanted.
        limit: of the process (``RLIMIT_NOFILE``); may be infinite.
        blocks: running at once (``SandboxLimits.parallel``).
        models: different ones, each with connections of its own.
    """
    fixed = RESERVE + BLOCK * blocks
    wanted = fixed + asked * (1 + models)
    if wanted <= limit:
        return Concurrency(max_concurrent=asked, max_idle=asked, descriptors=wanted)
    room = max(0, math.floor(limit) - fixed)
    episodes = max(1, min(asked, room * 2 // 3))
    idle = min(asked, max(0, room - episodes) // models)
    return Concurrency(max_concurrent=episodes, max_idle=idle, descriptors=fixed + episodes + idle * models)
