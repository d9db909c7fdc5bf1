"""Somebody who works against a memory from another process: ``python -m tests.memory.swapper MEMORY OUTSIDE``.

Until it is killed it swaps the memory's folders and notes, and ``.trioagent`` and what lies in it, for symbolic links
to a folder outside, for each other, for FIFOs and empty folders, and back. Prints a line once it is at it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import time
from pathlib import Path

NAMES = ("entities", "archive", "a", "user.md", "entities/note.md", ".trioagent", ".trioagent/new-0")


def swap(memory: Path, outside: Path, aside: Path, chance: random.Random) -> None:
    # Through a link of our own we would change what is outside ourselves.
    name, other = (chance.choice([name for name in NAMES if not (memory / name).parent.is_symlink()]) for _ in "12")
    place, kept = memory / name, aside / f"{name.replace('/', '_')}-{chance.randrange(3)}"
    with contextlib.suppress(OSError):
        match chance.randrange(6):
            case 0 | 1:
                place.rename(kept)
                place.symlink_to(outside / Path(name).name if chance.random() < 0.8 else outside)
            case 2:
                place.rename(kept)
                os.mkfifo(place)
            case 3:
                place.unlink()
            case 4:
                kept.rename(place)
            case _:
                place.rename(memory / other)
    if chance.random() < 0.05:
        for entry in os.scandir(aside):
            with contextlib.suppress(OSError):
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)


def put_right(memory: Path) -> None:
    """Away with what would refuse every commit: a file, a link or a FIFO in the place of a folder."""
    for name in (".trioagent", "entities", "archive", "a"):
        place = memory / name
        with contextlib.suppress(OSError):
            if place.is_symlink() or not place.is_dir():
                place.unlink()


def main(memory: Path, outside: Path) -> None:
    aside, chance = memory.with_name("aside"), random.Random(3)
    aside.mkdir(exist_ok=True)
    print("at it", flush=True)
    while True:
        swap(memory, outside, aside, chance)
        if chance.random() < 0.02:  # long enough for a commit between two swaps
            put_right(memory)
            time.sleep(0.005)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
