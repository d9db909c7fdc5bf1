"""Which processes there are."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from trioagent.sandbox import Sandbox


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    stack = [pid]
    while stack:
        parent = stack.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text().split()
                found.update(map(int, children))
                stack.extend(map(int, children))
        except OSError:
            continue  # it has ended
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of *pids* that have not ended, nor are zombies."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if runs(pid)}


def zygote(sandbox: Sandbox) -> int:
    """The process that forks: in the kernel tier process 1 of its namespace, the only child of the one we started."""
    pid: int = sandbox._executor.pid  # type: ignore[attr-defined]
    return min(descendants(pid)) if sandbox.tier == "kernel" else pid


async def spares(sandbox: Sandbox, count: int = 1) -> set[int]:
    """The children that wait in a *sandbox* in which no block runs, once there are *count*, and all others are gone."""
    for _ in range(10_000):
        children = descendants(zygote(sandbox))
        if len(children) == count and alive(children) == children:
            return children
        await trio.sleep(0.002)
    raise AssertionError(f"{len(children)} children, not {count}")
