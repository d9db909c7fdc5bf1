"""Cancels at random instants of a block's life: how soon is everything dead, and is anything left?

``python -m benchmarks.cancel_storm [CANCELS]``: so many in each tier (1000).
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from trioagent import SandboxLimits, open_sandbox

from ._measure import machine, table

TIERS = ("kernel", "kernel-lite")
CANCELS = 1000
AT_ONCE = 4
# Of each kind, some are cancelled while their child is made, some while they run, some while they are saved.
KINDS = (
    "create_file('note_{number}.md', 'x')\nwhile True: pass",
    "create_file('note_{number}.md', 'x')\nimport time\ntime.sleep(60)",
    "for i in range(100_000):\n    create_file(f'many/{{i % 50}}.md', 'x' * 5000)",
    "create_file('note_{number}.md', 'x' * 1000)\nnames = list_files()",
)


@attrs.frozen
class Storm:
    """The result of a run of cancels.

    Attributes:
        seconds: from each cancel to its block's task being over, child dead and view gone from our side.
        finished: how many blocks were faster than their cancel.
        left: what was there afterwards and not before, by kind: "zombies", "processes", "descriptors", "views", and
            "torn", memories that hold something other than whole notes.
    """

    seconds: list[float]
    finished: int
    left: dict[str, int]


def processes(pid: int) -> dict[int, str]:
    """The descendants of process *pid*, with their states (Z: a zombie)."""
    found: dict[int, str] = {}
    stack = [pid]
    while stack:
        parent = stack.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                for child in map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split()):
                    state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
                    found[child] = state
                    stack.append(child)
        except OSError:
            continue  # it has ended meanwhile
    return found


def _descriptors(pids: dict[int, str]) -> int:
    """Ours, and our descendants' as far as they may be looked at."""
    count = 0
    for pid in (os.getpid(), *pids):
        with suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count


def _views(folder: str | None) -> int:
    return len(os.listdir(folder)) if folder is not None else 0


async def storm(tier: str, cancels: int, seed: int = 7) -> Storm:
    """Cancel *cancels* blocks, AT_ONCE at a time, each at a random instant within three times a short one's time."""
    strangers = set(processes(os.getpid()))
    rng = random.Random(seed)
    seconds: list[float] = []
    finished = 0
    with tempfile.TemporaryDirectory() as folder:
        async with open_sandbox(tier, limits=SandboxLimits(parallel=AT_ONCE)) as sandbox:
            memories = [Path(folder) / str(number) for number in range(AT_ONCE)]

            async def one_after_the_other(memory: Path) -> None:
                nonlocal finished
                for number in range(cancels // AT_ONCE):
                    code = rng.choice(KINDS).format(number=number)
                    wait = rng.uniform(0, longest)
                    with trio.CancelScope(deadline=trio.current_time() + wait) as scope:
                        await sandbox.run(code, memory_path=memory)
                    if scope.cancelled_caught:
                        seconds.append(trio.current_time() - scope.deadline)
                    else:
                        finished += 1

            short = []
            for memory in memories * 3:  # warm, and all that is there to stay is there
                began = trio.current_time()
                await sandbox.run("x = 1", memory_path=memory)
                short.append(trio.current_time() - began)
            longest = 3 * statistics.median(short)
            # No part of the interface, and only looked at.
            scratch: str | None = sandbox._executor.handshake.get("scratch")  # type: ignore[attr-defined]
            before = await _settled(scratch, None)
            async with trio.open_nursery() as nursery:
                for memory in memories:
                    nursery.start_soon(one_after_the_other, memory)
            await sandbox.run("x = 1")  # a spare child that there was no room to ask for in the storm is made now
            after = await _settled(scratch, before)
            left = {kind: after[kind] - before[kind] for kind in before}
            left["torn"] = sum(map(_torn, memories))
    left["orphans"] = len(processes(os.getpid()).keys() - strangers)
    return Storm(seconds, finished, left)


async def _settled(scratch: str | None, goal: dict[str, int] | None) -> dict[str, int]:
    """What there is, once it is as in *goal* (for None: as a while before), or two seconds have passed.

    The zygote reaps, and makes new spare children, in its own time.
    """
    found: dict[str, int] = {}
    until = time.monotonic() + 2
    while time.monotonic() < until:
        before = found
        now = processes(os.getpid())
        found = {
            "zombies": sum(state == "Z" for state in now.values()),
            "processes": len(now),
            "descriptors": _descriptors(now),
            "views": _views(scratch),
        }
        if found == (before if goal is None else goal):
            break
        await trio.sleep(0.3 if goal is None else 0.01)
    return found


def _torn(memory: Path) -> int:
    """Notes that are not whole, and anything that is no note."""
    wrong = 0
    for path in memory.rglob("*"):
        if path.is_file():
            text = path.read_text()
            wrong += text != "x" * len(text) or len(text) not in (1, 1000, 5000)
        else:
            wrong += path.name != "many"
    return wrong


def main() -> None:
    print(machine())
    cancels = int(sys.argv[1]) if len(sys.argv) > 1 else CANCELS
    rows = []
    for tier in TIERS:
        result = trio.run(storm, tier, cancels)
        milliseconds = sorted(value * 1e3 for value in result.seconds)
        cuts = statistics.quantiles(milliseconds, n=100)
        rows.append((f"{tier}: cancelled, of {cancels} blocks", str(len(milliseconds)), ""))
        rows.append((f"{tier}: cancel to dead, p50", f"{cuts[49]:.1f} ms", ""))
        rows.append((f"{tier}: cancel to dead, p99", f"{cuts[98]:.1f} ms", "50 ms"))
        rows.append((f"{tier}: cancel to dead, longest", f"{milliseconds[-1]:.1f} ms", ""))
        left = ", ".join(f"{count} {kind}" for kind, count in result.left.items())
        rows.append((f"{tier}: left behind", left, "0 of all"))
    table(rows)


if __name__ == "__main__":
    main()
