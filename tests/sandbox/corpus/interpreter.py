"""Tricks with the interpreter that the answering code runs in, and with what it keeps in memory."""

from ._case import SYSCALL, Case
from .exhaustion import MAPPING
from .forgeries import FRAME

CASES = (
    Case(
        "sparse_page_tables",
        "page tables without bound",
        MAPPING
        + """
size = 64 << 20
while size > 8192:
    at = L.mmap(None, size, 3, 0x4022, -1, 0)
    if at in FAILED:
        size //= 2
        continue
    ctypes.c_char.from_address(at).value = b"x"
    L.munmap(at + 4096, size - 4096)
import time
time.sleep(0.5)
""",
    ),
    Case(
        "crash_into_the_channel",
        "the interpreter's own words as an answer",
        """
import faulthandler, ctypes
faulthandler.enable(file=3, all_threads=True)
try: faulthandler.dump_traceback_later(0.01, file=3, repeat=True)
except BaseException: pass
ctypes.string_at(0)
""",
    ),
    Case(
        "names_that_are_not_there",
        "the kernel remembers each name that was looked for",
        """
import os
number = 0
while True:
    number += 1
    try: os.stat(f"{number:0>200}")
    except OSError: pass
""",
    ),
    Case(
        "real_functions_behind_the_view",
        "notes are written past the view",
        """
import gc, os, builtins
def reach(kind):
    return [o for o in gc.get_objects() if type(o).__name__ == kind]
spaces = [o for o in reach("SimpleNamespace") if hasattr(o, "open")]
real = spaces[0].open if spaces else os.open
done = []
for fd in range(64):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT):
        for name in ("user.md", "../user.md", ".trioagent/x", "@MEM@/user.md"):
            try:
                d = real(name, flags, dir_fd=fd)
                os.write(d, b"HACKED")
                done.append((fd, flags, name))
            except (OSError, ValueError, OverflowError): pass
raise ValueError("and nothing of it is saved")
""",
    ),
    Case(
        "view_taken_away",
        "the view of the code that answers is gone",
        """
import gc, sys
for o in gc.get_objects():
    if type(o).__name__ in ("Layers", "Reads", "Access", "Index", "Writes", "Printed", "Channel"):
        try: vars(o).clear()
        except BaseException: pass
        try: o.__class__ = type("Other", (), {})
        except BaseException: pass
x = 1
""",
    ),
    Case(
        "view_that_lies",
        "what the view lists is what the host believes",
        """
import gc
for o in gc.get_objects():
    if type(o).__name__ == "Layers":
        o.gone = {"../../outside/target.txt", "/etc/passwd", "../other/secret.md", "", "..", "user.md/../../mem2/a.md"}
        o._written = True
""",
    ),
    Case(
        "finalizers_at_the_end",
        "code runs once the answer has been sent",
        """
import weakref, gc
class A: pass
kept = [A() for _ in range(10)]
def late(*args):
    open("late.md", "w").write("x")
for each in kept: weakref.finalize(each, late)
refs = [weakref.ref(each, late) for each in kept]
gc.callbacks.append(late)
""",
    ),
    Case(
        "thread_state_tricks",
        "exceptions raised from outside of the code",
        """
import ctypes, sys
api = ctypes.pythonapi
for k in range(3):
    try: api.PyThreadState_SetAsyncExc(ctypes.c_ulong(0), ctypes.py_object(SystemExit))
    except BaseException: pass
def again():
    api.Py_AddPendingCall(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda a: 0), None)
try: again()
except BaseException: pass
try: api.Py_AtExit(ctypes.CFUNCTYPE(None)(lambda: None))
except BaseException: pass
x = 1
""",
    ),
    Case(
        "hostile_class_of_error",
        "an error that claims to be another",
        """
class M(type):
    def __getattribute__(cls, name): raise SystemExit(name)
    @property
    def __name__(cls): return "x" * 10**7
class E(Exception, metaclass=M):
    __module__ = "trioagent.sandbox"
    __qualname__ = property(lambda s: 1 / 0)
    def __str__(self): raise KeyboardInterrupt
    def __repr__(self): raise SystemExit
    __class__ = property(lambda s: BaseException)
    __traceback__ = property(lambda s: s)
    __cause__ = property(lambda s: s)
    __notes__ = property(lambda s: s)
raise E
""",
    ),
    Case(
        "frames_after_an_unfinished_one",
        "the host takes the rest for another answer",
        FRAME
        + """
say(b'{"locals":{', claims=500)
answer(locals={"escaped": "'two'"})
os._exit(0)
""",
    ),
    Case(
        "answer_in_single_bytes",
        "the host looks at each",
        FRAME
        + """
body = json.dumps({"locals": {"x": "1"}, "error": "", "printed": "", "reads": []}).encode()
for byte in len(body).to_bytes(4, "big") + body:
    os.write(3, bytes([byte]))
import time
time.sleep(9)
""",
    ),
    Case(
        "empty_frames",
        "a frame of nothing is answered for ever",
        FRAME
        + """
while True: os.write(3, bytes(4) * 4096)
""",
    ),
    Case(
        "notes_of_one_device",
        "what lies behind /dev and /proc by descriptor",
        """
import os
found = []
for fd in range(256):
    for name in ("", "..", "../..", "exe", "maps", "mem", "environ", "root/etc/passwd"):
        for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY):
            try:
                d = os.open(name, flags, dir_fd=fd)
                try: found.append(os.read(d, 100) if flags == os.O_RDONLY else os.listdir(d))
                except OSError: pass
            except (OSError, ValueError): pass
t = [f for f in found if b"root:" in (f if isinstance(f, bytes) else b"")]
escaped = t or None
""",
    ),
    Case(
        "many_mappings_of_notes",
        "tables of mappings, each of one page",
        """
import mmap
kept = []
f = open("user.md", "rb")
try:
    while True: kept.append(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
except BaseException: pass
import time
time.sleep(0.2)
kept = len(kept)
""",
    ),
    Case(
        "copy_on_write_of_all",
        "every page that children share is written",
        """
import gc, ctypes, sys
objects = gc.get_objects()
for _ in range(3):
    for o in objects: sys.getrefcount(o)
gc.unfreeze(); gc.collect()
x = len(objects)
del objects
""",
    ),
    Case(
        "sigaltstack_and_recursion",
        "the native stack ends where no signal can be taken",
        SYSCALL
        + """
import sys
sys.setrecursionlimit(10**9)
class D(dict):
    def __missing__(self, k): return self[k]
try: D()[1]
except RecursionError: pass
import re, ast
for text in ("(" * 200000, "[" * 100000, "-" * 500000 + "1", "a" + ".a" * 300000):
    try: compile(text, "x", "eval")
    except BaseException: pass
""",
    ),
    Case(
        "marker_of_the_view",
        "the mark by which the host tells a whole view is moved or removed",
        SYSCALL
        + """
done = []
names = ("../intact", "intact", "../../intact", "@MEM@/../intact")
for fd in range(64):
    for name in names:
        path = name.encode()
        calls = (263, (fd, path, 0)), (264, (fd, path, fd, b"taken")), (257, (fd, path, 0o1001, 0))
        for call, args in (*calls, (258, (fd, b"../more", 0o700)), (263, (fd, b"../view", 0x200))):
            if os.uname().machine == "x86_64" and sc(call, *args) >= 0:
                done.append((fd, name, call))
escaped = done or None
""",
    ),
    Case(
        "dies_while_it_is_sent_something",
        "the host sends to nobody until the time is over",
        FRAME
        + """
for number in range(200):
    say(b'{"call":"nothing","args":["' + b"x" * 2000 + b'"],"kwargs":{}}')
os._exit(0)
""",
    ),
    Case(
        "ends_as_it_begins_again",
        "one death after the other",
        FRAME
        + """
say(b"", claims=4)
os.write(3, bytes(3))
os._exit(1)
""",
    ),
    Case(
        "note_that_grows_while_it_is_read",
        "a read that never ends",
        """
import os, threading
f = open("a.md", "wb", buffering=0)
f.write(b"x" * 900_000)
r = os.open("a.md", os.O_RDONLY)
text = b""
while len(text) < 5_000_000:
    part = os.read(r, 100_000)
    if not part: break
    text += part
    try: f.write(part[:10])
    except OSError: break
x = len(text)
""",
    ),
    Case(
        "names_with_our_marks",
        "what our own lists are written with",
        """
import os
for name in ("[\\"a\\"]", "a\\nb", "\\\\u0000", "'", '"', "{}", "%s", "\\x1b[2J", "\\ud800"):
    try:
        open(name + ".md", "w").write("x")
        os.rename(name + ".md", name + "2.md")
    except (OSError, ValueError): pass
""",
    ),
)
