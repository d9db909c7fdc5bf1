"""Changing anything outside the memory."""

from ._case import Case

CASES = (
    Case(
        "write_abs",
        "something outside the memory folder changed",
        """
open("@OUT@/SBXPWN1", "w").write("x")
""",
    ),
    Case(
        "write_dotdot",
        "something outside the memory folder changed",
        """
open("../SBXPWN2", "w").write("x")
""",
    ),
    Case(
        "write_overwrite",
        "something outside the memory folder changed",
        """
open("@OUT@/target.txt", "w").write("pwned")
""",
    ),
    Case(
        "write_append",
        "something outside the memory folder changed",
        """
open("@OUT@/target.txt", "a").write("pwned")
""",
    ),
    Case(
        "truncate_outside",
        "something outside the memory folder changed",
        """
import os
os.truncate("@OUT@/target.txt", 0)
""",
    ),
    Case(
        "rename_out",
        "something outside the memory folder changed",
        """
import os
open("a.md", "w").write("x")
os.rename("a.md", "@OUT@/SBXPWN3")
""",
    ),
    Case(
        "replace_over",
        "something outside the memory folder changed",
        """
import os
open("a.md", "w").write("x")
os.replace("a.md", "@OUT@/target.txt")
""",
    ),
    Case(
        "rename_in",
        "something outside the memory folder changed",
        """
import os
os.rename("@SECRET@", "stolen.md")
t = open("stolen.md").read()
""",
    ),
    Case(
        "unlink_outside",
        "something outside the memory folder changed",
        """
import os
os.unlink("@OUT@/target.txt")
""",
    ),
    Case(
        "rmtree_parent",
        "something outside the memory folder changed",
        """
import shutil
shutil.rmtree("@OUT@")
""",
    ),
    Case(
        "chmod_outside",
        "something outside the memory folder changed",
        """
import os
os.chmod("@OUT@/target.txt", 0o777)
""",
    ),
    Case(
        "chown_outside",
        "something outside the memory folder changed",
        """
import os
os.chown("@OUT@/target.txt", 65534, 65534)
""",
    ),
    Case(
        "utime_outside",
        "something outside the memory folder changed",
        """
import os
os.utime("@OUT@/target.txt", (1, 1))
""",
    ),
    Case(
        "setxattr_outside",
        "something outside the memory folder changed",
        """
import os
os.setxattr("@OUT@/target.txt", "user.pwn", b"1")
escaped = "xattr set"
""",
    ),
    Case(
        "mkdir_outside",
        "something outside the memory folder changed",
        """
import os
os.mkdir("@OUT@/SBXPWN4")
""",
    ),
    Case(
        "symlink_write",
        "something outside the memory folder changed",
        """
import os
os.symlink("@OUT@/target.txt", "w.md")
open("w.md", "w").write("pwned")
""",
    ),
    Case(
        "hardlink_out",
        "something outside the memory folder changed",
        """
import os
open("a.md","w").write("x")
os.link("a.md", "@OUT@/SBXPWN5")
""",
    ),
    Case(
        "write_tmp",
        "something outside the memory folder changed",
        """
open("/tmp/SBXPWN6", "w").write("x")
""",
    ),
    Case(
        "write_shm",
        "something outside the memory folder changed",
        """
open("/dev/shm/SBXPWN7", "w").write("x")
""",
    ),
    Case(
        "shm_module",
        "something outside the memory folder changed",
        """
from multiprocessing import shared_memory
s = shared_memory.SharedMemory("SBXPWN8", create=True, size=100)
""",
    ),
    Case(
        "write_proc_cwd",
        "something outside the memory folder changed",
        """
open("/proc/self/cwd/../SBXPWN9", "w").write("x")
""",
    ),
    Case(
        "write_dirfd",
        "something outside the memory folder changed",
        """
import os
d = os.open("..", os.O_RDONLY)
f = os.open("SBXPWN10", os.O_CREAT | os.O_WRONLY, dir_fd=d)
os.write(f, b"x")
""",
    ),
    Case(
        "chdir_write",
        "something outside the memory folder changed",
        """
import os
os.chdir("..")
os.chdir("..")
open("SBXPWN11", "w").write("x")
""",
    ),
    Case(
        "tempfile_write",
        "something outside the memory folder changed",
        """
import tempfile
t = tempfile.NamedTemporaryFile(delete=False, prefix="SBXPWN12")
escaped = t.name if not t.name.startswith(("./", "@MEM@")) and t.name.startswith("/tmp") else None
""",
    ),
    Case(
        "tool_write_traversal",
        "something outside the memory folder changed",
        """
t = []
for p in ("../SBXPWN13", "@OUT@/SBXPWN14", "a/../../SBXPWN15", "..//..//SBXPWN16", "~/SBXPWN17"):
    try: t.append(create_file(p, "x"))
    except BaseException as e: t.append(repr(e))
""",
    ),
    Case(
        "tool_update_outside",
        "something outside the memory folder changed",
        """
t = []
for f in (
    lambda: update_file("@OUT@/target.txt", "untouched", "pwned"),
    lambda: delete_file("@OUT@/target.txt"),
    lambda: create_dir("@OUT@/SBXPWN18"),
):
    try: t.append(f())
    except BaseException as e: t.append(repr(e))
""",
    ),
    Case(
        "tty_write",
        "something outside the memory folder changed",
        """
f = open("/dev/tty", "w")
f.write("pwned")
escaped = "tty opened"
""",
    ),
    Case(
        "pyc_poison",
        "something outside the memory folder changed",
        """
import os, sys
for p in sys.path:
    try: open(os.path.join(p, "SBXPWN19.py"), "w"); escaped = p
    except BaseException: pass
""",
    ),
)
