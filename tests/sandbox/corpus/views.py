"""Turning the private view itself against the host: the overlay's marks, odd names and modes, commit files."""

from ._case import SYSCALL, Case

CASES = (
    Case(
        "forged_redo_record",
        "a record of the commit's own is planted and later obeyed",
        """
import os
os.mkdir(".trioagent")
open(".trioagent/redo.json", "w").write('{"writes": {"../../outside/SBXPWN40": "eA=="}}')
""",
    ),
    Case(
        "forged_opaque_mark",
        "the overlay's marks can be set by a block",
        """
import os
os.mkdir("d")
escaped = None
for name in ("user.overlay.opaque", "trusted.overlay.opaque", "user.overlay.redirect", "user.overlay.metacopy"):
    try:
        os.setxattr("d", name, b"y")
        escaped = name
    except OSError:
        pass
""",
    ),
    Case(
        "forged_whiteout",
        "a device node is made",
        SYSCALL
        + """
import stat
for device in (0, os.makedev(1, 1), os.makedev(8, 0)):
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        try:
            os.mknod("node", kind | 0o666, device)
            escaped = "device %d" % device
        except OSError:
            pass
open("a", "w").close()
if os.uname().machine == "x86_64" and sc(316, -100, b"a", -100, b"b", 4) >= 0:
    escaped = "RENAME_WHITEOUT"
""",
    ),
    Case(
        "name_not_utf8",
        "the host stumbles over a name",
        r"""
import os
os.mkdir(b"\xff\xfe")
open(b"\xff\xfe/\xc3(.md", "w").write("x")
""",
    ),
    Case(
        "name_with_controls",
        "the host stumbles over a name",
        r"""
for name in ("\n.md", "\x1b[2J.md", "a" * 255, "\u202egnp.md", " ", "-rf", "~", "con"):
    open(name, "w").write("x")
""",
    ),
    Case(
        "unreadable_upper",
        "the host stumbles over modes",
        """
import os
os.mkdir("closed", 0)
os.close(os.open("closed.md", os.O_CREAT | os.O_WRONLY, 0))
os.close(os.open("suid.md", os.O_CREAT | os.O_WRONLY, 0o6777))
""",
    ),
    Case(
        "swap_root",
        "the view's own root is renamed or removed",
        """
import os, shutil
t = []
attempts = (lambda: os.rmdir("/"), lambda: os.rename("/", "/x"), lambda: shutil.rmtree("/"), lambda: os.chroot("/"))
for attempt in attempts:
    try:
        t.append(attempt())
    except BaseException as error:
        t.append(repr(error))
""",
    ),
    Case(
        "chroot_twice",
        "the classic way out of a chroot",
        """
import os
os.mkdir("jail")
escaped = None
root = os.open("/", os.O_RDONLY)
try:
    os.chroot("jail")
    os.fchdir(root)
    for _ in range(64):
        os.chdir("..")
    escaped = str(os.listdir("."))
except OSError as error:
    pass
for _ in range(64):
    os.chdir("..")
if "etc" in os.listdir("."):
    escaped = "outside"
""",
    ),
    Case(
        "unlinked_file_kept_open",
        "an unnamed file is given a name elsewhere",
        """
import os
escaped = None
try:
    f = os.open("/", os.O_TMPFILE | os.O_RDWR, 0o666)
    os.write(f, b"x")
    os.link(f"/proc/self/fd/{f}", "@OUT@/SBXPWN41")
    escaped = "linked"
except OSError:
    pass
""",
    ),
    Case(
        "remove_and_make_anew",
        "host code loses its way between old and new folders",
        """
import os, shutil
os.remove("user.md")
os.mkdir("user.md")
os.mkdir("user.md/user.md")
open("user.md/user.md/user.md", "w").write("x")
shutil.rmtree("user.md")
open("user.md", "w").write("- name: Ana")
""",
    ),
    Case(
        "nearly_the_reserved_name",
        "another spelling of the commit's folder is obeyed",
        r"""
import os
for name in (".TRIOAGENT", ".trioagent ", ".trioagent.", "\uff0etrioagent", ".trioagent\u200b", ".Trioagent"):
    os.mkdir(name)
    open(f"{name}/redo.json", "w").write('{"writes": {"../../outside/SBXPWN42": "eA=="}}')
""",
    ),
    Case(
        "reserved_name_by_renaming",
        "the commit's folder is moved into place",
        """
import os
os.makedirs("a/.trioagent")
open("a/.trioagent/redo.json", "w").write('{"writes": {"../../outside/SBXPWN43": "eA=="}}')
os.rename("a/.trioagent", ".trioagent")
""",
    ),
    Case(
        "folders_outside_by_path_only",
        "a folder that was opened without rights is a way in",
        """
import os
escaped = None
for place in ("@OUT@", "@MEM@/../other", "/etc", "/proc/self", "/dev"):
    try:
        folder = os.open(place, os.O_PATH)
        os.fchdir(folder)
    except OSError:
        continue
    for name in ("target.txt", "secret.md", "passwd", "maps", "null", "."):
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_TMPFILE | os.O_RDWR):
            for at in (None, folder):
                try:
                    os.open(name, flags, 0o600, dir_fd=at)
                    escaped = f"{place}/{name}"
                except OSError:
                    pass
""",
    ),
    Case(
        "deeper_than_any_path",
        "the host follows names without end",
        """
import os
for _ in range(70):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
open("x", "w").write("x")
""",
    ),
    Case(
        "other_overlays_marks",
        "names that mean something to another file system",
        """
import os
os.unlink("user.md")
for name in (".wh.user.md", ".wh..wh..opq", "#0", "redo.json"):
    open(name, "w").write("x")
os.makedirs("new/work/work")
""",
    ),
)
