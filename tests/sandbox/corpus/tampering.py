"""Spoiling things for the blocks that come after."""

from ._case import SYSCALL, Case

CASES = (
    Case(
        "tamper_modules",
        "a later execution sees our modules",
        """
import json, os, re
json.dumps = lambda *a, **k: "HACKED"
os.listdir = lambda *a: ["HACKED"]
import sys
sys.modules["re"] = None
""",
    ),
    Case(
        "tamper_types",
        "a later execution sees our patched types",
        """
import ctypes, gc
d = gc.get_referents(str.__dict__)[0]
d["upper"] = lambda s: "HACKED"
ctypes.pythonapi.PyType_Modified(ctypes.py_object(str))
""",
    ),
    Case(
        "tamper_cache_int",
        "a later execution sees corrupted small ints",
        """
import ctypes
ctypes.memmove(id(1) + 24, (ctypes.c_int32 * 1)(2), 4)
""",
    ),
    Case(
        "leftover_state",
        "globals persist to the next run",
        """
LEFTOVER_MARK = "HACKED"
import sys
sys.leftover = "HACKED"
""",
    ),
    Case(
        "signal_handlers",
        "ignored signals keep it alive",
        """
import signal, time
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except BaseException: pass
try: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
except BaseException: pass
while True: time.sleep(1)
""",
    ),
    Case(
        "shared_library_pages",
        "the library that later blocks import from can be changed",
        SYSCALL
        + """
import sys
shelf = next(finder._shelf for finder in sys.meta_path if hasattr(finder, "_shelf"))
start = ctypes.c_void_p.from_address(id(shelf._map) + object.__basicsize__).value
page, whole = ctypes.c_void_p(start), ctypes.c_size_t(len(shelf._map))
before = shelf._map[:4096]
L.mprotect(page, whole, 3)
ctypes.memset(page, 0x48, 4096)
L.madvise(page, ctypes.c_size_t(4096), 4)
if shelf._map[:4096] != before:
    escaped = "written for all"
if L.madvise(page, ctypes.c_size_t(4096), 9) == 0:
    escaped = "thrown away for all"
""",
    ),
    Case(
        "locks_as_a_message",
        "locks and flags on the standard input of all children outlive the block",
        """
import fcntl, os, struct
flags = fcntl.fcntl(0, fcntl.F_GETFL)
fcntl.fcntl(0, fcntl.F_SETFL, flags ^ os.O_NONBLOCK)
fcntl.flock(0, fcntl.LOCK_EX)
fcntl.fcntl(0, 37, struct.pack("hhqqi4x", 1, 0, 12345, 678, 0))
found = struct.unpack("hhqqi4x", fcntl.fcntl(0, fcntl.F_GETLK, struct.pack("hhqqi4x", 1, 0, 0, 0, 0)))
escaped = found[0] != 2 or fcntl.fcntl(0, fcntl.F_GETFL) != flags
""",
    ),
    Case(
        "futex_between_children",
        "a block wakes one that waits on the same page of the interpreter's file",
        SYSCALL
        + """
page = ctypes.c_void_p(ctypes.cast(L.getpid, ctypes.c_void_p).value & ~4095)
if os.uname().machine == "x86_64" and sc(202, page, 1, 1, None, None, 0) >= 0:
    escaped = "FUTEX_WAKE"
""",
    ),
    Case(
        "exit_replaced",
        "the child goes on as a zygote",
        """
import os, sys
os._exit = sys.exit = lambda *a: None
""",
    ),
    Case(
        "everything_replaced",
        "the child's own code is turned against the host",
        """
import os, sys
os._exit = lambda *a: None
reached, waiting = [], [type(sys.stdout).write.__globals__]
while waiting:
    names = waiting.pop()
    if names.get("__name__", "").startswith("trioagent") and names not in reached:
        reached.append(names)
        for value in names.values():
            for owner in (value, *getattr(value, "__dict__", {}).values()):
                if hasattr(owner, "__globals__"):
                    waiting.append(owner.__globals__)
assert len(reached) > 2
for names in reached:
    for name in list(names):
        if callable(names[name]) and not name.startswith("__"):
            names[name] = lambda *a, **k: 1 / 0
""",
    ),
    Case(
        "mode_and_environment",
        "what a process inherits reaches the next child",
        """
import os, random, sys
os.umask(0o777)
os.environ["LD_PRELOAD"] = "HACKED"
random.seed(1)
sys.meta_path[:] = []
sys.modules.clear()
""",
    ),
)
