"""Random saves by simulated editors against agents that commit to the same notes: none may be lost.

    python -m benchmarks.editors [EDITS]

Three editors, threads of their own, append a line to random notes: one writes in place, one by a rename, one by a
rename that keeps an old time. Agents read a note, take their time, and commit it with a line of theirs. A line of an
editor that is missing in the end was overwritten by an agent. Prints JSON: saves, commits, conflicts, lost saves.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import trio

from trioagent import Knowledge, Memory, MemoryConflictError
from trioagent.memory import ChangeSet, SeenNotes
from trioagent.tools import version_of

NOTES, AGENTS = 12, 6


def save(note: Path, how: str, line: str, mine: Path) -> None:
    """As an editor does it: the whole text is read, and written with one more line."""
    text = note.read_bytes() + line.encode()
    if how == "in place":
        with open(note, "wb") as file:
            file.write(text)
        return
    mine.write_bytes(text)
    if how == "old time":
        os.utime(mine, (1, 1))
    os.replace(mine, note)


def edit(root: Path, how: str, edits: int, locks: list[threading.Lock], saved: list[tuple[Path, str]]) -> None:
    """Save again and again. Two editors never have the same note open; what they do to each other is not the matter."""
    chance = random.Random(how)
    for number in range(edits):
        at = chance.randrange(NOTES)
        note, line = root / f"note{at}.md", f"{how} {number}\n"
        with locks[at]:
            save(note, how, line, root / f".{how}.tmp")
        saved.append((note, line))
        time.sleep(chance.random() * 0.002)


async def work(memory: Memory, name: int, counts: Counter[str], done: trio.Event) -> None:
    chance, knowledge, number = random.Random(name), Knowledge(), 0
    while not done.is_set():
        path = f"note{chance.randrange(NOTES)}.md"
        async with memory.lease() as lease:
            text = (memory.path / path).read_bytes()
            await trio.sleep(chance.random() * 0.002)
            number += 1
            changes = ChangeSet(writes={path: text + f"agent {name} {number}\n".encode()})
            seen = SeenNotes(reads={path: version_of(text)}, complete=True)
            try:
                await lease.commit(changes, knowledge=knowledge, seen=seen)
                counts["commits"] += 1
            except MemoryConflictError:
                counts["conflicts"] += 1


async def run(root: Path, edits: int) -> dict[str, int]:
    memory, counts, done = Memory(root), Counter[str](), trio.Event()
    locks = [threading.Lock() for _ in range(NOTES)]
    saved: list[tuple[Path, str]] = []
    for number in range(NOTES):
        (root / f"note{number}.md").write_text("begin\n")
    async with trio.open_nursery() as agents:
        for name in range(AGENTS):
            agents.start_soon(work, memory, name, counts, done)
        async with trio.open_nursery() as editors:
            for how in ("in place", "rename", "old time"):
                job = partial(edit, root, how, edits // 3, locks, saved)
                editors.start_soon(trio.to_thread.run_sync, job)
        done.set()
    return {"saves": len(saved), **counts, "lost": lost(saved)}


def lost(saved: list[tuple[Path, str]]) -> int:
    """How many of the saved lines are not in their notes any more."""
    lines = {note: set(note.read_text().splitlines(keepends=True)) for note in {note for note, _ in saved}}
    return sum(line not in lines[note] for note, line in saved)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(trio.run(run, Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)))
