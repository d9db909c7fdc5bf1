"""Reading what is not ours: other memories, the environment, the host."""

from ._case import SYSCALL, Case

CASES = (
    Case(
        "read_passwd",
        "a passwd line in the result",
        """
t = open("/etc/passwd").read()
""",
    ),
    Case(
        "tool_prefix_confusion",
        "canary of mem2 through the tools",
        """
t = []
for p in ("../mem2/secret.md", "@SECRET2@", "./../mem2/secret.md", "x/../../mem2/secret.md", "@MEM@2/secret.md"):
    try: t.append(read_file(p))
    except Exception as e: t.append(str(e))
""",
    ),
    Case(
        "tool_link_traversal",
        "canary through go_to_link",
        """
t = []
for p in ("[[../other/secret]]", "[[@OUT@/../agents/other/secret]]", "../other/secret", "file://@SECRET@"):
    try: t.append(go_to_link(p))
    except Exception as e: t.append(str(e))
""",
    ),
    Case(
        "tool_symlink_read",
        "canary through a link followed by a host-side tool",
        """
import os
from pathlib import Path
t = []
for n, tgt in (("l1.md", "@SECRET@"), ("l2.md", "../other/secret.md")):
    try: os.symlink(tgt, n)
    except BaseException as e:
        try: Path(n).symlink_to(tgt)
        except BaseException as e: pass
    try: t.append(read_file(n))
    except BaseException as e: t.append(repr(e))
    try: t.append(open(n).read())
    except BaseException as e: t.append(repr(e))
""",
    ),
    Case(
        "env_secret",
        "environment canary",
        """
import os
t = dict(os.environ)
u = os.getenv("SBX_SECRET")
""",
    ),
    Case(
        "env_proc_self",
        "environment canary",
        """
t = []
for p in ("self", "thread-self", "@PPID@", "1"):
    try: t.append(open(f"/proc/{p}/environ", "rb").read())
    except Exception as e: t.append(repr(e))
""",
    ),
    Case(
        "env_libc",
        "environment canary through libc",
        SYSCALL
        + """
L.getenv.restype = ctypes.c_char_p
t = L.getenv(b"SBX_SECRET")
env = ctypes.POINTER(ctypes.c_char_p).in_dll(L, "environ")
u = []
i = 0
while env and env[i] and i < 200:
    u.append(env[i]); i += 1
""",
    ),
    Case(
        "proc_parent_mem",
        "host memory canary",
        """
t = None
for p in ("@PPID@", "1", "self"):
    try:
        with open(f"/proc/{p}/maps") as f: maps = f.read()
        with open(f"/proc/{p}/mem", "rb") as m:
            for l in maps.splitlines():
                if "[heap]" in l or "rw-p" in l:
                    a, b = [int(x, 16) for x in l.split()[0].split("-")]
                    m.seek(a); d = m.read(min(b - a, 1 << 24))
                    i = d.find(b"CANARY-HOST" + b"MEM-")
                    if i >= 0: t = d[i:i + 48]; break
    except Exception as e: t = t or repr(e)
""",
    ),
    Case(
        "stat_outside",
        "existence and metadata of files outside",
        SYSCALL
        + """
import ctypes, os
escaped = None
buffer = ctypes.create_string_buffer(512)
for p in ("@SECRET@", "../other/secret.md", "/etc/passwd"):
    try: escaped = p + " " + str(os.stat(p).st_size)
    except OSError: pass
    if sc(262 if os.uname().machine == "x86_64" else 79, -100, p.encode(), ctypes.addressof(buffer), 0) == 0:
        escaped = p
""",
    ),
    Case(
        "list_parent",
        "names of other agents",
        """
import os
t = os.listdir("..")
escaped = "other agents: %r" % t if "other" in t else None
""",
    ),
    Case(
        "list_abs",
        "directory listing outside",
        """
import os, glob
t = glob.glob("@OUT@/../agents/*") + glob.glob("/root/*")
escaped = str(t[:3]) if t else None
""",
    ),
    Case(
        "proc_self_cwd_up",
        "canary via /proc/self/cwd/..",
        """
t = open("/proc/self/cwd/../other/secret.md").read()
""",
    ),
    Case(
        "proc_self_fd",
        "inherited descriptors used",
        """
import os
escaped = None; t = []
for fd in list(range(0, 64)):
    try: st = os.fstat(fd)
    except BaseException: continue
    t.append((fd, oct(st.st_mode)))
    for rel in ("../other/secret.md", "@SECRET@"):
        try:
            f = os.open(rel, os.O_RDONLY, dir_fd=fd); t.append(os.read(f, 100)); escaped = "dir_fd %d" % fd
        except BaseException as e: pass
""",
    ),
    Case(
        "open_by_handle",
        "open_by_handle_at",
        SYSCALL
        + r"""
mid = ctypes.c_int()
fh = ctypes.create_string_buffer(b"\x80\0\0\0" + b"\0"*4 + b"\0"*128, 140)
r = sc(303, -100, b".", fh, ctypes.byref(mid), 0)
r2 = sc(304, -100, fh, 0) if r == 0 else r
if r2 >= 0: escaped = "handle fd %d" % r2
""",
    ),
    Case(
        "symlink_read",
        "sibling canary through a symlink",
        """
import os
os.symlink("@SECRET@", "s.md")
t = open("s.md").read()
""",
    ),
    Case(
        "symlink_dir_read",
        "passwd through a directory symlink",
        """
import os
os.symlink("/", "rootlink")
t = open("rootlink/etc/passwd").read()
""",
    ),
    Case(
        "hardlink_read",
        "canary through a hard link",
        """
import os
os.link("@SECRET@", "h.md")
t = open("h.md").read()
""",
    ),
    Case(
        "process_vm_readv",
        "reads host memory",
        SYSCALL
        + """
b = ctypes.create_string_buffer(64)
class IO(ctypes.Structure): _fields_ = [("b", ctypes.c_void_p), ("n", ctypes.c_size_t)]
l = IO(ctypes.addressof(b), 64); r_ = IO(0x400000, 64)
r = sc(310, @PPID@, ctypes.byref(l), 1, ctypes.byref(r_), 1, 0)
if r > 0: escaped = "read %d" % r
""",
    ),
    Case(
        "gc_walk",
        "canary found by gc/object graph walking",
        """
import gc
t = [o for o in gc.get_objects() if isinstance(o, dict)]
found = []
for d in t:
    for k, v in list(d.items()):
        if isinstance(v, str) and "CANARY" + "-" in v: found.append(v)
""",
    ),
    Case(
        "subclasses_walk",
        "reaches os through object subclasses",
        """
c = [x for x in ().__class__.__base__.__subclasses__() if x.__name__ == "_wrap_close"]
g = c[0].__init__.__globals__
t = g["popen"]("echo SBX; cat @SECRET@").read()
escaped = t
""",
    ),
    Case(
        "traceback_frames",
        "host frames through a tool exception",
        """
t = []
try: read_file("nope.md")
except Exception as e:
    tb = e.__traceback__
    while tb: t.append(str(tb.tb_frame.f_code.co_filename)); tb = tb.tb_next
""",
    ),
    Case(
        "tool_globals",
        "host globals through a tool function",
        """
t = [str(k) for k in read_file.__globals__]
u = str(read_file.__closure__)
escaped = None
if "POOL" in t: escaped = "host globals"
""",
    ),
)
