"""Blocks over a flat folder of notes beside a hidden name: ``python -m benchmarks hidden_names [NOTES ...]``.

In kernel-lite each such note has a Landlock rule of its own. Besides the blocks: what that costs alone, and what the
other way would, an open of each note by another process that hands over the descriptor.
"""

from __future__ import annotations

import ctypes
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from trioagent.sandbox._guest.confine import GRANTED, READ_FILE, new_ruleset
from trioagent.sandbox._guest.grants import add_rule
from trioagent.sandbox._guest.syscalls import call, prctl

from ._measure import machine, table
from .one_agent import KINDS, blocks, make_memory

COUNT = 100
SIZES = (10, 1000, 10_000)
LIMIT = 1.3
KINDS = {**KINDS, "that lists the folder": "found = len(list_files())"}
NO_NEW_PRIVS = 38


def make_vault(folder: Path, notes: int) -> Path:
    memory = make_memory(folder, notes)
    for hidden in (memory / ".git", memory / "entities" / ".obsidian"):
        hidden.mkdir()
        (hidden / "config").write_text("x")
    return memory


def in_child(function: Callable[[], float]) -> float:
    """The number that *function* returns in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, repr(function()).encode())
        os._exit(0)
    os.close(write)
    found = float(os.read(read, 100))
    os.close(read)
    os.waitpid(pid, 0)
    return found


def rules(folder: Path) -> tuple[float, float, float]:
    """Seconds of making a ruleset of all notes, of confining a process by it, and of that process's end besides."""
    abi = call("landlock_create_ruleset", None, 0, 1)
    settings, size = new_ruleset(abi)
    began = time.perf_counter()
    ruleset = call("landlock_create_ruleset", ctypes.byref(settings), size, 0)
    for path in folder.iterdir():
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        add_rule(ruleset, place, READ_FILE if path.is_file() else GRANTED & settings.files)
        os.close(place)
    made = time.perf_counter() - began

    def confine() -> float:
        prctl(NO_NEW_PRIVS, 1)
        began = time.perf_counter()
        call("landlock_restrict_self", ruleset, 0)
        return time.perf_counter() - began

    def timed(function: Callable[[], float]) -> tuple[float, float]:
        began = time.perf_counter()
        return in_child(function), time.perf_counter() - began

    confined = [timed(confine) for _ in range(20)]
    bare = statistics.median(timed(lambda: 0.0)[1] for _ in range(20))
    os.close(ruleset)
    alone, whole = (statistics.median(each) for each in zip(*confined, strict=True))
    return made, alone, whole - bare - alone


def opened_by_another(folder: Path) -> tuple[float, float]:
    """Seconds of an open, here, and in another process that sends the descriptor."""
    names = [path.name for path in folder.iterdir()][:1000]
    root = os.open(folder, os.O_PATH)
    began = time.perf_counter()
    for name in names:
        os.close(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=root))
    here = (time.perf_counter() - began) / len(names)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        while wanted := theirs.recv(300):
            descriptor = os.open(wanted, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=root)
            socket.send_fds(theirs, [b"x"], [descriptor])
            os.close(descriptor)
        os._exit(0)
    theirs.close()
    began = time.perf_counter()
    for name in names:
        ours.send(name.encode())
        os.close(socket.recv_fds(ours, 1, 1)[1][0])
    there = (time.perf_counter() - began) / len(names)
    ours.close()
    os.waitpid(pid, 0)
    os.close(root)
    return here, there


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = make_vault(Path(place) / "memory", sizes[-1]) / "entities"
        made, confined, ended = rules(folder)
        here, there = opened_by_another(folder)
        rows += [
            (f"a ruleset of {sizes[-1]:,} notes: making it", f"{made * 1e3:.1f} ms", ""),
            ("  confining a process by it", f"{confined * 1e3:.2f} ms", ""),
            ("  and what more its end takes", f"{ended * 1e3:.2f} ms", ""),
            ("opening a note: here", f"{here * 1e6:.0f} us", ""),
            ("  by another process that sends the descriptor", f"{there * 1e6:.0f} us", ""),
        ]
    for kind, code in KINDS.items():
        base: float | None = None
        for notes in sizes:
            measure = partial(blocks, notes, code, tier="kernel-lite", count=COUNT, make=make_vault)
            cpu, wall = trio.run(measure)
            base = base or wall
            limit = "" if notes == sizes[0] else f"<= {LIMIT * base:.1f} ms"
            rows.append((f"a block {kind}, {notes:,} notes, CPU / median wall", f"{cpu:.2f} / {wall:.2f} ms", limit))
    table(rows)


if __name__ == "__main__":
    main()
