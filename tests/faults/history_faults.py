"""Disturb the filling of a history's store, and forgetting, at every operation on the disk.

    python -m tests.faults.history_faults FOLDER STEP

Rows lie in the journal, and the owner has changed notes. Filling dies or fails at its n-th operation, for every n and
in every way (or every STEP-th of those); filled once more in peace, the store must have each commit exactly once, with
the contents that it made. The same for forgetting a note: called again in peace, nothing of it is left. Git's own
operations are not disturbed. Prints JSON: operations and faults.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from trioagent._errors import MemoryHistoryError
from trioagent.memory import ChangeSet, CommitOrigin
from trioagent.memory._commit import commit
from trioagent.memory._history import _reading, _store
from trioagent.memory._history._filling import OpenHistory, look, put
from trioagent.memory._history._git import open_git
from trioagent.memory._history._journal import close_journal
from trioagent.memory._history._reading import Selection
from trioagent.memory._history._tips import NoteHashes
from trioagent.tools import NOTE_SUFFIXES

from ..memory.support import PRIVATE, opened
from .interposer import Ended, Fault, disturbed, here, said_by
from .memory_faults import place

COMMITS = 4


def never_cancelled() -> None:
    """There is no caller who could be."""


def fill(root: Path) -> None:
    with opened(root) as leased:
        history = root / PRIVATE / "history"
        fd = os.open(history, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = OpenHistory(str(root), history, fd, leased.root_fd)
            again = True
            while again:
                known, notes = look(found, NOTE_SUFFIXES, NoteHashes(), never_cancelled)
                _, again = put(found, known, notes, close_journal(fd), 10**9, never_cancelled)
        finally:
            os.close(fd)


def forget(root: Path) -> None:
    with opened(root) as leased:
        history = root / PRIVATE / "history"
        fd = os.open(history, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with open_git(str(root), history / "notes.git", never_cancelled) as git:
                _store.remember_forgotten(history, fd, leased.root_fd, _store.notes_below(git, "user.md"))
                _store.forget(git, history / "notes.git", fd, "user.md")
        finally:
            os.close(fd)


def lay_down(root: Path) -> None:
    """A memory whose store has two commits, and whose journal has more."""
    root.mkdir()
    (root / "old.md").write_bytes(b"old\n")
    for number in range(COMMITS):
        with opened(root, history=place()) as leased:
            changes = ChangeSet(writes={"user.md": b"%d\n" % number, f"new{number}.md": b"new\n"})
            commit(leased, changes, origin=CommitOrigin(said=f"number {number}"))
        if number == 1:
            fill(root)
            (root / "old.md").write_bytes(b"by hand\n")
        (root / "user.md").write_bytes(b"%d\nby hand\n" % number)


def check(root: Path) -> None:
    """Each commit is there once, with what it made, and what the owner made in between."""
    store = root / PRIVATE / "history" / "notes.git"
    with open_git(str(root), store, never_cancelled) as git:
        revisions = _reading.log(git, None, 1000, None, Selection())
        said = [each.said for each in reversed(revisions) if each.kind == "agent"]
        assert said == [f"number {number}" for number in range(COMMITS)], said
        kinds = [each.kind for each in reversed(_reading.log(git, "user.md", 1000, None, Selection()))]
        assert kinds == ["agent", *["external", "agent"] * (COMMITS - 1), "external"], kinds
        for revision in revisions:
            if revision.kind == "agent":
                found = _reading.show(git, "user.md", revision.id).data
                assert found == b"%s\n" % revision.said[-1].encode()
        for path, data in (("user.md", b"3\nby hand\n"), ("old.md", b"by hand\n")):
            assert _reading.show(git, path, None).data == data
    assert fsck(store) == ""


def check_forgotten(root: Path) -> None:
    store = root / PRIVATE / "history" / "notes.git"
    with open_git(str(root), store, never_cancelled) as git:
        assert _reading.log(git, "user.md", 1000, None, Selection()) == ()
        objects = (git.output("cat-file", "--batch-all-objects", "--batch") or b"") if git.head() else b""
        assert b"2\nby hand" not in objects and b"number" not in objects
        assert _reading.show(git, "old.md", None).data == b"by hand\n"
    assert fsck(store) == ""


def fsck(store: Path) -> str:
    command = ["git", "--git-dir", str(store), "fsck", "--strict", "--no-dangling"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def disturb(work: Path, step: int, job: Any, judge: Any) -> Counter[str]:
    """*job* with every fault, on a copy of the memory in *work*."""
    seen: Counter[str] = Counter()
    root = work / "memory"

    def fresh() -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(work / "template", root)

    def one(fault: Fault | None) -> Ended:
        fresh()
        ended = here(lambda: job(root), root) if fault is None else disturbed(lambda: job(root), root, fault)
        if isinstance(ended.value, Exception):
            assert isinstance(ended.value, OSError | MemoryHistoryError), said_by(ended)
        job(root)
        judge(root)
        return ended

    quiet = one(None)
    seen["operations"] = quiet.seen
    faults = quiet.every_fault()
    for fault in faults[::step]:
        ended = one(fault)
        seen["faults"] += bool(ended.faults)
        seen["died"] += ended.died
    return seen


def run(work: Path, step: int) -> dict[str, int]:
    gc.freeze()
    lay_down(work / "template")
    filled = disturb(work, step, fill, check)
    fill(work / "template")
    forgotten = disturb(work, step, forget, check_forgotten)
    return {
        "fill": filled["faults"],
        "forget": forgotten["faults"],
        "operations": filled["operations"] + forgotten["operations"],
        "died": filled["died"] + forgotten["died"],
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
