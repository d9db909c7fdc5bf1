"""Programs, descendants, signals and other processes."""

from ._case import Case

CASES = (
    Case(
        "execve",
        "ran a program",
        """
import os
os.execv("/bin/sh", ["sh", "-c", "touch @OUT@/SBXPWN21; sleep 5"])
""",
    ),
    Case(
        "daemon",
        "a daemonised grandchild outlives us",
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for f in range(3, 64):
            try: os.close(f)
            except OSError: pass
        time.sleep(30)
    os._exit(0)
time.sleep(0.3)
""",
    ),
    Case(
        "kill_parent",
        "host receives a signal",
        """
import os, signal
t = []
for p in (os.getppid(), @PPID@, @VICTIM@):
    try: os.kill(p, signal.SIGTERM); t.append(("killed", p))
    except BaseException as e: t.append(repr(e))
""",
    ),
    Case(
        "pidfd_kill",
        "victim dies",
        """
import os, signal
f = os.pidfd_open(@VICTIM@)
signal.pidfd_send_signal(f, signal.SIGKILL)
""",
    ),
    Case(
        "fcntl_setown",
        "SIGIO to the host",
        """
import fcntl, os
fcntl.fcntl(3, fcntl.F_SETOWN, @PPID@)
fcntl.fcntl(3, fcntl.F_SETFL, os.O_ASYNC)
escaped = "setown"
""",
    ),
    Case(
        "renice_affinity_rlimit",
        "raises its own limits or touches others",
        """
import resource, os
t = []
escaped = None
for r in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
    try: resource.setrlimit(r, (resource.RLIM_INFINITY,) * 2); escaped = "raised %d" % r
    except BaseException as e: t.append(repr(e))
try: resource.prlimit(@VICTIM@, resource.RLIMIT_NOFILE, (3, 3)); escaped = "prlimit victim"
except BaseException as e: t.append(repr(e))
""",
    ),
    Case(
        "atexit_hook",
        "code runs after the answer",
        """
import atexit, os
atexit.register(lambda: open("late.md", "w").write("late"))
""",
    ),
    Case(
        "del_hook",
        "code runs after the answer",
        """
class A:
    def __del__(self):
        open("late2.md", "w").write("late")
a = A()
""",
    ),
    Case(
        "import_antigravity",
        "imports that run programs",
        """
import antigravity
""",
    ),
    Case(
        "subprocess_shell",
        "a program runs",
        """
import os, subprocess
t = []
for attempt in (
    lambda: subprocess.run("touch @OUT@/SBXPWN50", shell=True),
    lambda: os.system("touch @OUT@/SBXPWN51"),
    lambda: os.popen("touch @OUT@/SBXPWN52").read(),
    lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "touch @OUT@/SBXPWN53"], {}),
):
    try:
        t.append(attempt())
    except OSError as error:
        t.append(repr(error))
""",
    ),
    Case(
        "threads",
        "a thread runs on",
        """
import threading, time
escaped = None
def late():
    time.sleep(0.3)
    open("late3.md", "w").write("late")
try:
    threading.Thread(target=late, daemon=True).start()
    escaped = "thread"
except RuntimeError:
    pass
""",
    ),
    Case(
        "reply_then_go_on",
        "code runs after the answer",
        """
import os, json, time
body = json.dumps({"locals": {}, "error": "", "printed": "", "reads": []}).encode()
os.write(3, len(body).to_bytes(4, "big") + body)
for i in range(10000):
    open("late4.md" if i > 5000 else "early.md", "w").write("x" * 1000)
    time.sleep(0.001)
""",
    ),
    Case(
        "timers_and_alarms",
        "a signal is sent by the clock",
        """
import signal
escaped = None
for attempt in (lambda: signal.setitimer(signal.ITIMER_REAL, 0.1), lambda: signal.pthread_kill(1, 15)):
    try:
        attempt()
        escaped = "sent"
    except OSError:
        pass
""",
    ),
)
