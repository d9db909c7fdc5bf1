"""Names, modes and shapes of what a block leaves, for the host to stumble over when it commits and later."""

from ._case import SYSCALL, Case

CASES = (
    Case(
        "names_of_all_kinds",
        "a name is taken for something else",
        r"""
names = [
    "...", ".. ", " ..", "..\\..\\x", "user.md:stream", "USER.md", "e\u0301", "\u00e9", "\ufeff", "%2e%2e%2f",
    "$(touch x)", "`id`", "-", "--help", "'", '"', "[[x]]", "#", "*", "?", "con.md", "\u202e",
    "new-0", "redo.json", "redo.tmp", "receipt-x", "x" * 255, "\u00e9" * 127,
]
import os
for name in names:
    open(name, "w").write("x")
os.makedirs("q/..x/...")
open("q/..x/.../z", "w").write("y")
assert sorted(os.listdir()) == sorted([*names, "q", "user.md"])
""",
    ),
    Case(
        "names_for_tools",
        "a tool lets a name out, or falls over it",
        r"""
names = [
    "..\n", "a/../../x", "a\x00b", "/../x", "....//x", "~root/x", "\ud800", "x" * 256, "x/" * 3000, "C:\\x",
    ".trioagent/redo.json", "./.trioagent/x", "//.trioagent//x", "a/../.trioagent/x", "file:///x", "\\\\host\\x",
]
tools = (create_file, read_file, delete_file, create_dir, check_if_file_exists, list_files, get_size, go_to_link)
escaped = None
for name in names:
    for tool in tools:
        try:
            tool(name)
        except BaseException as error:
            escaped = f"{name[:50]!r}: {error!r}"
""",
    ),
    Case(
        "modes_of_all_kinds",
        "set-id, sticky or no bits at all reach the memory",
        """
import os
os.umask(0)
for number, mode in enumerate((0o7777, 0o6755, 0o2755, 0o1777, 0o4755, 0o666)):
    note = os.open(f"m{number}.md", os.O_CREAT | os.O_RDWR, mode)
    os.write(note, b"x")
    os.close(note)
    os.mkdir(f"d{number}", mode)
""",
    ),
    Case(
        "modes_by_plain_calls",
        "set-id bits and nodes by calls that Python does not make",
        SYSCALL
        + """
if os.uname().machine == "x86_64":
    sc(85, b"c1.md", 0o6777), sc(2, b"c2.md", 0o102, 0o6777), sc(257, -100, b"c3.md", 0o102, 0o6777)
    sc(83, b"folder", 0o7777)
    if sc(133, b"node", 0o106777, 0) >= 0 or sc(259, -100, b"node", 0o106777, 0) >= 0:
        escaped = "mknod"
""",
    ),
    Case(
        "as_deep_as_names_are_long",
        "paths longer than any call takes",
        """
import os
for _ in range(31):
    os.mkdir("d" * 255)
    os.chdir("d" * 255)
open("x.md", "w").write("x")
""",
    ),
    Case(
        "notes_become_folders_and_back",
        "host code loses its way between old and new",
        """
import os, shutil
os.unlink("user.md")
os.makedirs("user.md/a/b/c")
open("user.md/a/b/c/d.md", "w").write("x")
shutil.rmtree("user.md/a")
open("user.md/a", "w").write("q")
os.rename("user.md/a", "z.md")
os.rmdir("user.md")
os.rename("z.md", "user.md")
for number in range(3):
    os.unlink("user.md")
    os.mkdir("user.md")
    os.rmdir("user.md")
    open("user.md", "w").write(f"- name: Ana {number}")
""",
    ),
    Case(
        "thousands_of_long_names",
        "a commit takes for ever, or is too much for its record",
        """
for number in range(2000):
    open(f"{number}_" + "x" * 240, "w").write("y" * 100)
""",
    ),
    Case(
        "no_place_to_stand",
        "the block's own folder is gone when it answers",
        """
import os
os.mkdir("d")
os.chdir("d")
os.rmdir("../d")
t = create_file("x.md", "y")
""",
    ),
    Case(
        "folders_into_themselves",
        "a folder that is its own parent",
        """
import os
os.makedirs("a/b")
escaped = None
for old, new in (("a", "a/b/c"), ("a/b", "a"), ("/", "a"), (".", "a"), ("..", "a"), ("a", "."), ("a", "..")):
    try:
        os.rename(old, new)
        escaped = f"{old} to {new}"
    except OSError:
        pass
""",
    ),
    Case(
        "swapped_in_one_step",
        "exchanges and whiteouts that leave marks of the overlay's own",
        SYSCALL
        + """
open("a.md", "w").write("x")
for flags in (2, 4, 6, 0xFFFFFFFF):
    if os.uname().machine == "x86_64" and sc(316, -100, b"a.md", -100, b"user.md", flags) >= 0:
        escaped = str(flags)
""",
    ),
    Case(
        "written_behind_its_name",
        "content that changes without its time",
        """
import mmap, os
with open("m.md", "w+b") as note:
    note.write(b"x" * 4096)
    note.flush()
    memory = mmap.mmap(note.fileno(), 4096)
memory[:] = b"y" * 4096
os.unlink("m.md")
open("m.md", "w").write("z")
memory[:] = b"w" * 4096
""",
    ),
    Case(
        "holes",
        "files that claim what they do not hold",
        """
number = 0
while True:
    with open(f"s{number}.md", "w") as note:
        note.truncate(1 << 20)
    number += 1
""",
    ),
)
