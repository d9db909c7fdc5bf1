"""Questions to the kernel whose very answer tells of other processes, other agents or the machine."""

from ._case import SYSCALL, Case

CASES = (
    Case(
        "processor_clocks_of_others",
        "how much processor time the host, the zygote or another agent's block has used",
        """
import time
seen = {}
for pid in (@PPID@, @VICTIM@, 1, 2, 3):
    for kind in (0, 1, 2, 6):
        for ask in (time.clock_gettime, time.clock_getres):
            try:
                seen[pid, kind, ask.__name__] = ask((~pid << 3) | kind)
            except OSError:
                pass
escaped = str(seen) if seen else None
t = time.process_time(), time.thread_time(), time.monotonic(), time.clock_getres(time.CLOCK_MONOTONIC)
assert len(t) == 4
""",
    ),
    Case(
        "processors_of_others",
        "which process ids are taken",
        """
import os
mine = os.sched_getaffinity(0)
escaped = None
for pid in (@PPID@, @VICTIM@, 1, 2, os.getppid()):
    try:
        escaped = f"process {pid}: {os.sched_getaffinity(pid)}"
    except OSError:
        pass
""",
    ),
    Case(
        "priorities_and_sessions_of_others",
        "which process ids are taken",
        """
import os
escaped = None
for pid in (@PPID@, @VICTIM@, 1):
    asked = (
        lambda: os.getpgid(pid), lambda: os.getsid(pid), lambda: os.getpriority(os.PRIO_PROCESS, pid),
        lambda: os.sched_getscheduler(pid), lambda: os.sched_getparam(pid), lambda: os.waitpid(pid, os.WNOHANG),
        lambda: os.kill(pid, 0), lambda: os.pidfd_open(pid),
    )
    for number, ask in enumerate(asked):
        try:
            escaped = f"{number}: {ask()}"
        except OSError:
            pass
""",
    ),
    Case(
        "limits_of_others",
        "limits are read from other processes, or set",
        SYSCALL
        + """
room = ctypes.create_string_buffer(b"\\xff" * 16, 16)
for pid in (0, os.getpid(), os.getppid(), @PPID@, @VICTIM@, 1, 2**32):
    for new in (None, room):
        for limit in range(16):
            done = os.uname().machine == "x86_64" and sc(302, pid, limit, new, room) >= 0
            if done and (new is not None or pid % 2**32):
                escaped = f"{pid}, {limit}, {new}"
""",
    ),
    Case(
        "robust_lists_of_others",
        "an address in another process",
        SYSCALL
        + """
room = ctypes.create_string_buffer(64)
for pid in (1, @PPID@, @VICTIM@):
    if os.uname().machine == "x86_64" and sc(274, pid, ctypes.byref(room), ctypes.byref(room)) >= 0:
        escaped = str(pid)
""",
    ),
    Case(
        "all_fcntl_commands",
        "a command that is not among the harmless ones",
        SYSCALL
        + """
harmless = {0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030}
for descriptor in range(4):
    for command in {*range(64), *range(1024, 1064)} - harmless:
        if os.uname().machine == "x86_64" and sc(72, descriptor, command, 0) != -1:
            escaped = f"{descriptor}, {command}"
""",
    ),
    Case(
        "descriptors_of_a_new_block",
        "a block is born with more open than its socket and the null device",
        """
import os, stat
escaped = None
for descriptor in range(1024):
    try:
        info = os.fstat(descriptor)
    except OSError:
        continue
    expected = (stat.S_ISCHR, stat.S_ISCHR, stat.S_ISCHR, stat.S_ISSOCK)
    if descriptor > 3 or not expected[descriptor](info.st_mode):
        escaped = f"{descriptor}: {info.st_mode:o}"
""",
    ),
    Case(
        "up_by_nameless_folders",
        "the top is reached through folders opened without rights",
        """
import os
escaped = None
try:
    folder = os.open("/", os.O_PATH)
    for _ in range(3):
        folder = os.open("..", os.O_PATH, dir_fd=folder)
    for name in ("etc", "root", "proc", "tmp", "dev"):
        try:
            inside = os.open(name, os.O_PATH, dir_fd=folder)
            escaped = f"{name}: {os.listdir(inside)[:3]}"
        except OSError:
            pass
    os.fchdir(folder)
    t = open("etc/passwd").read()
except OSError:
    pass
""",
    ),
    Case(
        "magic_links",
        "the kernel's own links lead out",
        """
import os
t = []
for path in (
    "/proc/self/root/etc/passwd", "/proc/thread-self/root/etc/passwd", "/proc/1/root/etc/passwd", "/proc/self/exe",
    "/proc/self/fd/0/../../etc/passwd", "/dev/fd/3", "/dev/stdin", "/proc/self/map_files", "/proc/@PPID@/cwd/user.md",
):
    try:
        t.append(open(path, "rb").read(100))
        escaped = path
    except OSError:
        pass
""",
    ),
    Case(
        "zygotes_memory",
        "what the zygote kept of other children and of the host",
        """
import gc
gc.unfreeze()
t = []
for thing in gc.get_objects():
    kind = type(thing).__name__
    if kind in ("Children", "Zygote", "Channel", "Conversation", "Scratch", "frame", "socket"):
        t.append(repr(getattr(thing, "__dict__", thing))[:300])
kept = [thing for thing in gc.get_objects() if type(thing).__name__ == "Children"]
escaped = str([vars(book) for book in kept if book._living or book._views]) if any(
    book._living or book._views for book in kept) else None
""",
    ),
    Case(
        "places_of_the_machine",
        "where the host's files lie is read in modules, code, arguments and frames",
        """
import gc, sys, traceback
texts = [*sys.argv, *sys.orig_argv, sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path]
for module in list(sys.modules.values()):
    spec = getattr(module, "__spec__", None)
    texts += [getattr(module, "__file__", None), getattr(module, "__cached__", None), getattr(spec, "origin", None)]
    texts += [getattr(getattr(spec, "loader", None), "path", None), *(getattr(module, "__path__", None) or ())]
for function in gc.get_objects():
    if type(function).__name__ == "function":
        texts.append(function.__code__.co_filename)
import json.tool, string, csv
texts += [json.tool.main.__code__.co_filename, csv.DictReader.__init__.__code__.co_filename]
frame = sys._getframe().f_back
while frame is not None:
    texts.append(frame.f_code.co_filename)
    for value in list(frame.f_locals.values()):
        if type(value) in (str, dict, list, tuple) and "orig_argv" not in str(value):  # not this very code
            texts.append(str(value)[:20_000])
    frame = frame.f_back
signs = "@MEM@", "/lib/python3", "/trioagent/"
places = [text for text in texts if type(text) is str and any(sign in text for sign in signs)]
escaped = places[0][:200] if places else None
""",
    ),
    Case(
        "ids_of_others",
        "process and user ids count what other blocks there were, or name somebody",
        SYSCALL
        + """
import os
X = os.uname().machine == "x86_64"
raw = [sc(number) for number in ((39, 186, 110, 102, 107, 104, 108) if X else (172, 178, 173, 174, 175, 176, 177))]
escaped = None if set(raw) == {0} else str(raw)
known = os.getpid(), os.getppid(), os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()
if known != (2, 1, 1000, 1000, 1000, 1000, []):
    escaped = str(known)
""",
    ),
    Case(
        "pages_that_all_share",
        "advice on the pages of programs that every process of the machine uses",
        SYSCALL
        + """
import ctypes, os
X = os.uname().machine == "x86_64"
page = ctypes.cast(L.qsort, ctypes.c_void_p).value & ~4095
escaped = None
for advice in (9, 12, 20, 21, 22, 23, 25, 100, 101, 102, 103):
    if sc(28 if X else 233, page, 4096, advice) >= 0:
        escaped = f"advice {advice}"
""",
    ),
    Case(
        "how_full_the_machine_is",
        "file systems tell how much room they have, and their own ids",
        SYSCALL
        + """
import ctypes, os
X = os.uname().machine == "x86_64"
buffer = ctypes.create_string_buffer(256)
escaped = None
for descriptor in range(8):
    if sc(138 if X else 44, descriptor, ctypes.addressof(buffer)) >= 0:
        escaped = f"descriptor {descriptor}: {bytes(buffer)[:40]}"
if sc(137 if X else 43, ctypes.addressof(ctypes.create_string_buffer(b"/")), ctypes.addressof(buffer)) >= 0:
    escaped = str(bytes(buffer)[:40])
t = os.statvfs("/").f_bavail > 0
""",
    ),
    Case(
        "futexes_at_the_end",
        "a robust list has the kernel write to, and wake, at the end of the process",
        SYSCALL
        + """
import ctypes, os
X = os.uname().machine == "x86_64"
head = (ctypes.c_long * 3)()
escaped = "set_robust_list" if sc(273 if X else 99, ctypes.addressof(head), 24) >= 0 else None
""",
    ),
    Case(
        "standard_descriptors_are_shared",
        "flags, locks and positions of standard input belong to all blocks",
        """
import fcntl, os
escaped = None
t = [fcntl.fcntl(number, fcntl.F_GETFL) & ~0o100000 for number in range(3)]
for number in range(3):
    fcntl.fcntl(number, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)
""",
    ),
)
