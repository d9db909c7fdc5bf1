"""Using up time, memory, disk or output, and crashing."""

from ._case import SYSCALL, Case

MAPPING = (
    SYSCALL
    + """
L.mmap.restype = ctypes.c_void_p
L.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
L.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
FAILED = (None, 2**64 - 1)
"""
)

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
        "shared_memory",
        "pages that stay when their mapping is gone are not counted",
        MAPPING
        + """
for flags in (0x21, 0x23, 0x4021):          # MAP_SHARED | MAP_ANONYMOUS, and more
    at = L.mmap(None, 1 << 20, 3, flags, -1, 0)
    if at not in FAILED:
        ctypes.memset(at, 1, 1 << 20)
        escaped = "shared memory"
import mmap
try:
    mmap.mmap(-1, 4096)
    escaped = "shared memory"
except OSError:
    pass
""",
    ),
    Case(
        "huge_pages",
        "memory of another pool is not counted",
        MAPPING
        + """
if L.mmap(None, 2 << 20, 3, 0x40022, -1, 0) not in FAILED:
    escaped = "huge pages"
""",
    ),
    Case(
        "page_tables",
        "the tables of single pages at far addresses are not counted",
        MAPPING
        + """
made = 0
for flags in (0x22, 0x32, 0x100022):        # near an address, at it, at it if it is free
    for i in range(1000):
        at = L.mmap((1 << 40) + (i << 30), 4096, 3, flags, -1, 0)
        made += at not in FAILED and at >= 1 << 40 and at < 1 << 42
page = L.mmap(None, 4096, 3, 0x22, -1, 0)
for i in range(1000):                       # MREMAP_MAYMOVE | MREMAP_FIXED
    to = (1 << 41) + (i << 30)
    if L.mremap(ctypes.c_void_p(page), 4096, 4096, 3, ctypes.c_void_p(to)) != -1:
        page, made = to, made + 1
if made:
    escaped = f"{made} pages at addresses of its choice"
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
