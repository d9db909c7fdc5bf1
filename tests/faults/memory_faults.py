"""Disturb commits and recoveries at every operation on the disk.

    python -m tests.faults.memory_faults FOLDER [sync] [history] [without EXCHANGE|RENAME_FLAGS|LINKS] [step STEP]

For each scenario of ``tests.memory.support`` a commit is disturbed at its n-th operation, for every n and in every
way; then, after a death at each place, so is the recovery. After a last, quiet recovery the memory must be exactly as
before or exactly as after the commit, what the commit said must be true, and the receipt must be there or not. With
``history`` every commit is kept, and the rows of the journal must lead to exactly the notes that are there. With
``without`` the file system lacks the operations that `Missing` names. With ``step`` recoveries are disturbed after a
death at every STEP-th operation only. Prints JSON: operations and faults.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from trioagent._errors import MemoryProtectedError, MemoryStorageError
from trioagent.memory import ChangeSet, Receipt
from trioagent.memory._history._journal import JournalPlace, close_journal, read_rows
from trioagent.memory._history._tips import JournalTips
from trioagent.memory._receipts import read_receipt
from trioagent.tools import version_of

from ..memory.support import PRIVATE, Tree, before, commit_now, opened, read_tree, recover_now, scenarios
from .interposer import Ended, Fault, Missing, Mode, disturbed, do_without, here, said_by


def place() -> JournalPlace:
    """The history in a memory, of which this process knows nothing yet."""
    return JournalPlace(None, True, JournalTips())


NESTED = ("one note and a receipt", "notes and folders swapped")


def check(root: Path, new: Tree, receipt: Receipt | None, ended: Ended | None = None, *, history: bool = False) -> str:
    """Recover in peace; the state of the memory, and whether what the disturbed commit said was true."""
    recover_now(root)
    tree = read_tree(root)
    state = "after" if tree == new else "before"
    assert tree == (new if state == "after" else before()), (tree, ended)
    with opened(root) as place:
        payload = None if receipt is None else read_receipt(place, receipt.key)
    if receipt is not None:
        if new == before():
            state = "before" if payload is None else "after"
        assert payload == (receipt.payload if state == "after" else None), (payload, state, ended)
    left = [receipt.file] if receipt is not None and state == "after" else []
    if history:
        assert replayed(root) == tree.notes, (replayed(root), ended)
        left.append("history")
    assert (root / PRIVATE).exists() == bool(left), ended
    if left:
        assert sorted(os.listdir(root / PRIVATE)) == sorted(left)
    if ended is not None and not ended.died:
        if isinstance(ended.value, Exception):
            assert type(ended.value) in (MemoryStorageError, MemoryProtectedError), said_by(ended)
            pending = isinstance(ended.value, MemoryStorageError) and ended.value.pending
            assert pending or state == "before", said_by(ended)
        else:
            assert state == "after", ended
    return state


def replayed(root: Path) -> dict[str, bytes]:
    """The notes that the rows of the journal lead to, from what the first of them found; each finds what is there."""
    notes = dict(before().notes)
    first = True
    fd = os.open(root / PRIVATE / "history", os.O_RDONLY)
    try:
        rows = [row for name in close_journal(fd) for row in read_rows(name, fd)]
    finally:
        os.close(fd)
    for row, verdict in zip(rows, [*rows[1:], None], strict=True):
        void = verdict.void if verdict is not None and verdict.void is not None else ()
        for change in row.changes:
            if first:
                assert change.base is not None and change.before == version_of(change.base)
                notes[change.path] = change.base
            present = notes.get(change.path)
            assert change.before == (None if present is None else version_of(present)), (change, row)
            if change.path in void:
                continue
            if change.content is None:
                del notes[change.path]
            else:
                assert change.after == version_of(change.content)
                notes[change.path] = change.content
        first = False
    return notes


class Scenario:
    """A commit, again and again on the same memory."""

    def __init__(self, root: Path, new: Tree, receipt: Receipt | None, sync: bool, history: bool) -> None:
        self.root, self.new, self.receipt, self.sync, self.history = root, new, receipt, sync, history
        self.changes = before().changes_to(new)
        self.seen: Counter[str] = Counter()

    def fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        before().lay_down(self.root)
        if self.history:  # there is a row already, and the journal is what an earlier process left
            (self.root / "user.md").write_bytes(b"# Somebody\n")
            commit_now(self.root, ChangeSet(writes={"user.md": before().notes["user.md"]}), history=place())

    def commit(self) -> bool:
        history = place() if self.history else None
        return commit_now(self.root, self.changes, receipt=self.receipt, sync=self.sync, history=history)

    def check(self, ended: Ended | None = None) -> str:
        return check(self.root, self.new, self.receipt, ended, history=self.history)

    def disturb(self) -> Ended:
        """The commit with every fault; how it went in peace."""
        self.fresh()
        quiet = here(self.commit, self.root)
        assert self.check(quiet) == "after"
        self.seen["operations"] += quiet.seen
        for fault in (*quiet.every_fault(), *quiet.every_permanent_fault()):
            self.fresh()
            ended = disturbed(self.commit, self.root, fault)
            self.seen["faults"] += bool(ended.faults)
            self.seen[self.check(ended)] += 1
        return quiet

    def disturb_recovery(self, at: int) -> None:
        """The recovery with every fault, after a death before operation *at*."""
        self.fresh()
        disturbed(self.commit, self.root, Fault(at, Mode.KILL_BEFORE))
        broken = self.root.with_name("broken")
        shutil.rmtree(broken, ignore_errors=True)
        self.root.rename(broken)
        self._copy_from(broken)
        recovery = partial(recover_now, self.root, sync=self.sync)
        quiet = here(recovery, self.root)
        state = self.check()
        self.seen["operations in recovery"] += quiet.seen
        for fault in (*quiet.every_fault(), *quiet.every_permanent_fault()):
            self._copy_from(broken)
            ended = disturbed(recovery, self.root, fault)
            if isinstance(ended.value, Exception):
                assert type(ended.value) is MemoryStorageError and ended.value.pending, said_by(ended)
            self.seen["faults in recovery"] += bool(ended.faults)
            # What cannot be finished is taken back; what does not say so, or dies, is not.
            allowed = {state, "before"} if not fault.kills else {state}
            assert self.check() in allowed, (at, fault)

    def _copy_from(self, broken: Path) -> None:
        """The memory as the death left it, with its hard links."""
        shutil.rmtree(self.root, ignore_errors=True)
        copies: dict[int, str] = {}

        def copy(source: str, target: str) -> None:
            first = copies.setdefault(os.stat(source).st_ino, target)
            shutil.copy2(source, target) if first == target else os.link(first, target)

        shutil.copytree(broken, self.root, symlinks=True, copy_function=copy)


def run(work: Path, sync: bool, history: bool, step: int) -> dict[str, Any]:
    total: Counter[str] = Counter()
    gc.freeze()  # so that the children, which share what was loaded, do not copy it
    for name, (new, receipt) in scenarios().items():
        scenario = Scenario(work / "memory", new, receipt, sync, history)
        quiet = scenario.disturb()
        assert scenario.seen["before"] and scenario.seen["after"], (name, scenario.seen)
        for at in range(1, quiet.seen + 1, step) if name in NESTED else ():
            scenario.disturb_recovery(at)
        total += scenario.seen
    return dict(total)


if __name__ == "__main__":
    said = dict(zip(sys.argv, [*sys.argv[1:], ""], strict=True))  # what follows each word
    if "without" in said:
        do_without(Missing[said["without"]])
    found = run(Path(sys.argv[1]), sync="sync" in said, history="history" in said, step=int(said.get("step", 1)))
    print(json.dumps(found))
