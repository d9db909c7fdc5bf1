"""Kill commits at every file operation, in children of this process: ``python -m tests.memory.crash_runner FOLDER``.

For every scenario, for every n, a child commits and is killed (SIGKILL) at its n-th operation that changes the disk:
just before it, just after it, or in the middle of a write. After one death in each place another child recovers and is
killed at its m-th operation, for every m (in two scenarios and without fsync, to save time). After a last, whole
recovery the memory must be exactly as before or exactly as after the commit, the receipt must say which, and nothing
of ours may be left. With the argument ``sync``, commits use fsync. Prints what was tried; the first deviation is an
AssertionError.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from trioagent.memory import Receipt
from trioagent.memory._receipts import read_receipt

from .support import CHANGING, PRIVATE, Tree, before, commit_now, opened, read_tree, recover_now, scenarios, switched

NESTED = ("one note and a receipt", "notes and folders swapped")


def dies_at(number: int, when: str, job: Callable[[], object]) -> bool:
    """Run *job* in a child that is killed at its operation *number*; False if it ended before."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with switched(killer(number, when), ("write",) if when == "middle" else CHANGING):
                job()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def killer(at: int, when: str) -> Callable[..., Any]:
    def step(number: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if number == at:
            if when == "after":
                operation(*args)
            elif when == "middle":
                fd, data = args
                operation(fd, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*args)

    return step


def check(root: Path, old: Tree, new: Tree, receipt: Receipt | None) -> str:
    """Recover, and say whether the memory is in the state before or after the commit."""
    hidden = recover_now(root)
    found = read_tree(root)
    assert found in (old, new), found
    state = "after" if found == new else "before"
    if receipt is None:
        assert not hidden
        assert not (root / PRIVATE).exists()
        return state
    with opened(root) as leased:
        payload = read_receipt(leased, receipt.key)
    if old == new:
        state = "after" if payload is not None else "before"
    assert payload == (receipt.payload if state == "after" else None)
    assert hidden == (root / PRIVATE).exists() == (state == "after")
    if hidden:
        assert os.listdir(root / PRIVATE) == [receipt.file]
    return state


def run(work: Path, sync: bool) -> dict[str, dict[str, int]]:
    tried: dict[str, dict[str, int]] = {}
    for name, (new, receipt) in scenarios().items():
        old, seen = before(), {"before": 0, "after": 0, "recoveries": 0}
        root, nested = work / "memory", name in NESTED and not sync

        def fresh(old: Tree = old, root: Path = root) -> Path:
            shutil.rmtree(root, ignore_errors=True)
            old.lay_down(root)
            return root

        def job(root: Path = root, old: Tree = old, new: Tree = new, receipt: Receipt | None = receipt) -> bool:
            return commit_now(root, old.changes_to(new), receipt=receipt, sync=sync)

        for when in ("before", "middle", "after"):
            for number in count(1):
                fresh()
                died = dies_at(number, when, job)
                state = check(root, old, new, receipt)
                seen[state] += 1
                if not died:
                    assert state == "after"
                    break
                for step in count(1) if when == "before" and nested else ():
                    fresh()
                    dies_at(number, when, job)
                    if not dies_at(step, when, partial(recover_now, root, sync=sync)):
                        break
                    assert check(root, old, new, receipt) == state
                    seen["recoveries"] += 1
        assert seen["before"] and seen["after"], seen
        tried[name] = seen
    return tried


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), sync="sync" in sys.argv)))
