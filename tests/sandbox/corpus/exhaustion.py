"""Using up time, memory, disk or output, and crashing."""

from ._case import Case

CASES = (
    Case(
        "fork_bomb",
        "processes left, host slow",
        """
import os
while True:
    try: os.fork()
    except OSError: break
import time
time.sleep(20)
""",
    ),
    Case(
        "swallow_interrupts",
        "except BaseException keeps it alive",
        """
import time
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    ),
    Case(
        "memory_bomb",
        "memory unbounded",
        """
x = []
while True: x.append("x" * 10_000_000 + str(len(x)))
""",
    ),
    Case(
        "memory_one",
        "memory unbounded",
        """
x = bytearray(8 << 30)
x[::4096] = b"x" * (len(x) // 4096)
""",
    ),
    Case(
        "big_stdout",
        "output unbounded",
        """
while True: print("x" * 100000)
""",
    ),
    Case(
        "big_stdout_raw",
        "output to fd 1/2 unbounded",
        """
import os
for i in range(20000):
    os.write(1, b"x" * 65536)
""",
    ),
    Case(
        "big_locals",
        "result unbounded",
        """
x = "y" * 50_000_000
for i in range(5000): globals()["v%d" % i] = "z" * 10000
""",
    ),
    Case(
        "big_file",
        "folder unbounded",
        """
f = open("big.md", "w")
while True: f.write("x" * 1_000_000)
""",
    ),
    Case(
        "many_files",
        "number of files unbounded",
        """
i = 0
while True:
    open(f"f{i}.md", "w").write("x"); i += 1
""",
    ),
    Case(
        "many_big_files",
        "folder unbounded",
        """
i = 0
while True:
    open(f"g{i}.md", "w").write("x" * 1000000); i += 1
""",
    ),
    Case(
        "sparse_file",
        "apparent size unbounded",
        """
f = open("sparse.md", "wb")
f.seek(1 << 40)
f.write(b"x")
""",
    ),
    Case(
        "deep_dirs",
        "host breaks on a very deep tree",
        """
import os
for i in range(3000):
    os.mkdir("d"); os.chdir("d")
""",
    ),
    Case(
        "fd_exhaust",
        "descriptors unbounded",
        """
l = []
while True: l.append(open("user.md"))
""",
    ),
    Case(
        "deep_recursion",
        "native stack overflow",
        """
import sys
try: sys.setrecursionlimit(10 ** 9)
except BaseException: pass
def f(n): return f(n + 1)
f(0)
""",
    ),
    Case(
        "native_crash",
        "host dies with it",
        """
import ctypes
ctypes.string_at(0)
""",
    ),
    Case(
        "native_abort",
        "host dies with it",
        """
import os
os.abort()
""",
    ),
    Case(
        "keyboard_interrupt",
        "host is interrupted",
        """
raise KeyboardInterrupt
""",
    ),
    Case(
        "close_fds",
        "host hangs",
        """
import os
os.closerange(0, 100)
import time
time.sleep(3600)
""",
    ),
    Case(
        "stdin_read",
        "blocks on stdin",
        """
import sys
x = sys.stdin.read()
y = input()
""",
    ),
    Case(
        "repr_never_ends",
        "repr loops",
        """
class R:
    def __repr__(self):
        while True: pass
r = R()
""",
    ),
    Case(
        "breakpoint_pdb",
        "debugger blocks",
        """
breakpoint()
""",
    ),
    Case(
        "unnamed_files",
        "what has no name is not counted",
        """
import mmap, os
kept = []
while True:
    with open("m", "w+b") as file:
        file.truncate(1 << 20)
        kept.append(mmap.mmap(file.fileno(), 1 << 20))
    os.unlink("m")
    kept[-1][:] = b"x" * (1 << 20)
""",
    ),
    Case(
        "tree_in_motion",
        "whoever looks after the view stumbles over what changes meanwhile",
        """
import os, time
end = time.monotonic() + 0.5
while time.monotonic() < end:
    os.makedirs("a/b/c")
    os.rename("a", "q")
    os.removedirs("q/b/c")
    open("a", "w").close()
    os.unlink("a")
""",
    ),
)
