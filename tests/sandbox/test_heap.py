"""A heap without holes: what is allocated after the filling lies together."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.real

# In a process of its own: the filling is for good.
PROGRAM = """
import gc, sys
from trioagent.sandbox._guest.heap import fill_gaps

def pools(size):
    made = [bytes(size - sys.getsizeof(b"")) for _ in range(8)]
    return len({id(one) // 2**14 for one in made})

def holes():
    for size in (48, 176, 512, 700, 3000):
        many = [bytearray(size - sys.getsizeof(b"")) for _ in range(3000)]
        kept = many[::300]
        del many
        yield kept

gc.collect()
kept = list(holes())
gaps = fill_gaps()
assert sum(map(len, gaps)) < 64 * 2**20, sum(map(len, gaps))
for size in (64, 176, 512):  # what a loop itself allocates is smaller
    assert pools(size) <= 2, size  # the first may lie where the filling itself left a hole
"""


def test_new_objects_lie_together_once_holes_are_filled() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
