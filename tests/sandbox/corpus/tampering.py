"""Spoiling things for the blocks that come after."""

from ._case import Case

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
)
