"""A long chaos run: ``python -m benchmarks.chaos --minutes 30 --agents 500``. Ends with 1 if anything is wrong.

Three fifths of the time go to batches that are killed, stopped and cancelled until they get through, the rest to one
process that lives on, to see whether it grows (see `tests.slow.chaos`). A server that answers in up to half a second
and hangs now and then, and a user who waits ten seconds for it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from tests.slow.chaos import Plan, run_chaos

from ._measure import machine, table


def plan_of(minutes: float, agents: int, seed: int, tier: str | None) -> Plan:
    """A plan for so long, and for so many agents at once."""
    return Plan(
        seed=seed,
        agents=agents,
        jobs=2 * agents,
        seconds=minutes * 60 * 0.6,
        steady_seconds=minutes * 60 * 0.4,
        calm=6.0,
        patience=10.0,
        latency=0.5,
        tier=tier,
        storm_every=30.0,
        storm_seconds=0.5,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to disturb; the end takes some more")
    parser.add_argument("--agents", type=int, default=500, help="jobs at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tier", help="the sandbox tier; the best that works by default")
    parser.add_argument(
        "--folder", type=Path, help="an empty folder, kept, for run directories in which all is not well"
    )
    order = parser.parse_args(arguments)
    # A shell's background job ignores SIGINT, and so would the batches that are sent one before they listen.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = plan_of(order.minutes, order.agents, order.seed, order.tier)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = order.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = trio.run(partial(run_chaos, plan, folder, tell=partial(print, flush=True)))
    table(figures.rows())
    violations = figures.violations()
    for words in violations[:50]:
        print(f"NOT AS IT SHOULD BE: {words[:1000]}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
