"""What a block costs in each sandbox tier, and what a child forked ahead saves. ``python -m benchmarks.tiers``."""

from __future__ import annotations

import time
from functools import partial

import trio

from trioagent import SandboxLimits, open_sandbox

from ._measure import bare_fork, machine, table
from .one_agent import KINDS, blocks

COUNT = 200
TURNS = 3  # of each way to run a block, one after the other: the machine's mood changes


async def start(tier: str) -> float:
    """Seconds from nothing to a tier that has run its probe block."""
    began = time.perf_counter()
    async with open_sandbox(tier):
        return time.perf_counter() - began


def main() -> None:
    print(machine())
    rows = [("for scale: fork and wait, bare Python, median wall", f"{bare_fork():.2f} ms", "")]
    for tier in ("kernel", "kernel-lite", "monty"):
        rows.append((f"{tier}: start with its probe", f"{trio.run(start, tier):.2f} s", ""))
        for kind in KINDS:
            cpu, wall = trio.run(partial(blocks, 10, kind, tier=tier, count=COUNT))
            rows.append((f"{tier}: a block {kind}, CPU / median wall", f"{cpu:.2f} / {wall:.2f} ms", ""))
    for tier in ("kernel-lite", "monty"):
        cpu, wall = trio.run(partial(blocks, 1000, "that reads", tier=tier, count=COUNT // 4))
        rows.append((f"{tier}: a block that reads, 1,000 notes", f"{cpu:.2f} / {wall:.2f} ms", ""))
    costs: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for _ in range(TURNS):
        for spare, seen in costs.items():
            limits = SandboxLimits(spare_children=spare)
            seen.append(trio.run(partial(blocks, 10, "that reads", tier="kernel", limits=limits, count=COUNT)))
    for spare, seen in costs.items():
        shown = ", ".join(f"{cpu:.2f} / {wall:.2f}" for cpu, wall in seen)
        rows.append((f"kernel, {spare} spare: a block that reads, in turns", f"{shown} ms", ""))
    table(rows)


if __name__ == "__main__":
    main()
