"""The index of a memory in real blocks: it is used, it is never out of date, and nobody else gets it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._exceptions import open_helper_nursery
from trioagent._steps import STEP_NAMES
from trioagent.memory import ChangeSet, Memory, VaultPolicy
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._indexes import RENEW, WORTH, IndexBounds, Indexes, Watch
from trioagent.sandbox._sandbox import Outcome
from trioagent.tools import AccessRules

from ..open_files import open_files
from .indexed_search import SEARCH, filled, indexes, uses_index
from .kernel_tier import open_kernel
from .plain_user import PlainUser
from .processes import descendants

pytestmark = pytest.mark.real


@pytest.fixture
async def big(tmp_path: Path) -> AsyncIterator[tuple[Sandbox, Path]]:
    """A memory that has an index, and the sandbox that holds it."""
    memory = filled(tmp_path / "memory")
    async with open_sandbox("kernel") as sandbox:
        assert await uses_index(sandbox, memory) is False
        await indexes(sandbox).idle()
        assert await uses_index(sandbox, memory) is True
        yield sandbox, memory


@asynccontextmanager
async def bounded(**bounds: Any) -> AsyncIterator[Sandbox]:
    """A sandbox with other bounds for its indexes."""
    async with open_kernel(index_bounds=IndexBounds(**bounds)) as (sandbox, _):
        yield sandbox


async def test_a_small_memory_gets_none(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory", 20)
    async with open_sandbox("kernel") as sandbox:
        for _ in range(2):
            assert await uses_index(sandbox, memory) is False
            await indexes(sandbox).idle()


def test_a_plain_user_has_one_too(plain_user: PlainUser) -> None:
    run = plain_user.run("tests.sandbox.indexed_search")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["", "True", "['fresh.md:1: needle']"]


async def test_what_others_change_is_seen_at_once(big: tuple[Sandbox, Path]) -> None:
    sandbox, memory = big

    async def commit_here() -> None:
        async with Memory(memory).lease() as lease:
            await lease.commit(
                ChangeSet(writes={"new/deep/fresh.md": b"a needle"}, deletes=frozenset({"note_1.md", "note_3.md"}))
            )

    async def commit_elsewhere() -> None:
        program = (
            "import sys, trio; from trioagent import open_sandbox\n"
            "async def main():\n"
            "    async with open_sandbox('kernel') as sandbox:\n"
            '        code = \'create_file("note_7", "haystack"); delete_file("note_9")\'\n'
            "        assert (await sandbox.run(code, memory_path=sys.argv[1])).saved\n"
            "trio.run(main)"
        )
        await trio.run_process([sys.executable, "-c", program, str(memory)])

    async def edit_in_place() -> None:
        (memory / "note_11.md").write_text("needle")

    async def edit_and_rename() -> None:
        (memory / ".note.swp").write_text("needle needle [[fresh]]")
        os.replace(memory / ".note.swp", memory / "folder/note_2.md")

    async def rename_a_note() -> None:
        os.rename(memory / "note_13.md", memory / "folder/fresh.md")

    async def rename_a_folder() -> None:
        os.rename(memory / "folder", memory / "other")

    async def hide_a_note() -> None:
        os.rename(memory / "note_15.md", memory / ".note_15.md")

    async def copy_a_folder_in() -> None:
        shutil.copytree(memory / "other", memory / "copies/of")

    async def remove_a_folder() -> None:
        shutil.rmtree(memory / "other")

    async def change_many() -> None:
        for number in range(400):
            (memory / f"w{number}.md").write_text(f"haystack w{number}")

    for change in (
        commit_here,
        commit_elsewhere,
        edit_in_place,
        edit_and_rename,
        rename_a_note,
        hide_a_note,
        rename_a_folder,
        copy_a_folder_in,
        remove_a_folder,
        change_many,
    ):
        await change()
        await uses_index(sandbox, memory)  # which compares every answer with that of a look at every note
        await indexes(sandbox).idle()
        assert await uses_index(sandbox, memory), change.__name__


OWN_CHANGES = [
    'create_file("fresh", "needle [[note_7]]")',
    'update_file("note_7", "Plain", "needle")',
    'delete_file("note_7")',
    'open("note_7.md", "a").write("needle")',
    'import pathlib; pathlib.Path("folder/fresh.md").write_text("needle")',
    'import os; os.chdir("folder"); open("fresh.md", "w").write("needle"); os.remove("note_8.md")',
    'import os; os.rename("note_7.md", "folder/fresh.md")',
    'import os; os.truncate("note_7.md", 3)',
    'import os; os.makedirs("a/b"); os.replace("note_7.md", "a/b/fresh.md"); os.rename("a", "c")',
    'import os; os.close(os.open("fresh.md", os.O_CREAT | os.O_WRONLY, dir_fd=os.open("folder", os.O_RDONLY)))',
    'import os; os.remove("note_8.md", dir_fd=os.open("folder", os.O_RDONLY))',
    'import shutil; shutil.rmtree("folder")',
    'import shutil; shutil.move("folder", "elsewhere"); shutil.copy("note_7.md", "fresh.md")',
    'import sqlite3; sqlite3.connect("fresh.md").execute("create table needle (haystack)")',
    'import ctypes; ctypes.CDLL(None).rename(b"note_7.md", b"fresh.md")',
    'file = open("fresh.md", "w"); file.write("one"); file.flush(); search("one"); file.write(" needle"); file.flush()',
    'file = open("note_7.md", "r+b"); import mmap; mmap.mmap(file.fileno(), 0)[:6] = b"needle"',
    'open(b"fresh.md", "wb").write(b"needle")',
]  # fmt: skip


async def test_what_the_block_changes_is_seen(big: tuple[Sandbox, Path]) -> None:
    """No change is saved, so one index will do for all of them."""
    sandbox, memory = big
    before = {path: path.read_bytes() for path in memory.rglob("*.md")}
    for change in OWN_CHANGES:
        for code in (f"{SEARCH}\n{change}\nsame()", f"{change}\nimport os; os.chdir('/')\n{SEARCH}"):
            result = await sandbox.run(code + "\nraise SystemExit('save nothing')", memory_path=memory)
            assert result.error.startswith("SystemExit: save nothing"), (change, result.error)
        assert {path: path.read_bytes() for path in memory.rglob("*.md")} == before, change


async def test_a_link_in_the_memory_leads_to_what_it_means(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")
    os.symlink("note_7.md", memory / "link.md")
    async with open_sandbox("kernel") as sandbox:
        await uses_index(sandbox, memory)
        await indexes(sandbox).idle()
        code = f"{SEARCH}\nopen('link.md', 'a').write('needle')\nsame()\nfound = search('needle')"
        result = await sandbox.run(code, memory_path=memory)
        assert result.error == "" and result.locals["used"] == "True"
        assert "note_7.md" in result.locals["found"]


async def test_it_grows_by_small_parts(big: tuple[Sandbox, Path]) -> None:
    sandbox, memory = big
    (kept,) = indexes(sandbox)._kept.values()
    whole = kept.parts[0].notes
    for number in range(2 * RENEW):
        code = f"create_file('w{number}', 'haystack w{number}')\n{SEARCH}"
        result = await sandbox.run(code, memory_path=memory)
        assert result.error == "" and result.locals["used"] == "True"
        await indexes(sandbox).idle()
    notes = [part.notes for part in kept.parts]
    assert notes[0] == whole and len(notes) > 1
    assert all(larger >= 4 * smaller for larger, smaller in pairwise(notes))
    for number in range(2 * WORTH):
        (memory / f"v{number}.md").write_text("needle")
    await uses_index(sandbox, memory)
    await indexes(sandbox).idle()
    assert len(kept.parts) == 1 and kept.parts[0].notes > 3 * WORTH


async def test_a_block_can_do_nothing_to_it(big: tuple[Sandbox, Path]) -> None:
    sandbox, memory = big
    attack = """
import ctypes
data = search.__self__._index._data
size = len(data)
address = ctypes.addressof(data.obj)
libc = ctypes.CDLL(None, use_errno=True)
refused = libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 3), ctypes.get_errno()
if WRITE:
    ctypes.memset(address, 0, 8)
"""
    result = await sandbox.run(attack.replace("WRITE", "False"), memory_path=memory)
    assert result.error == "" and result.locals["refused"] == f"(-1, {errno.EACCES})"
    result = await sandbox.run(attack.replace("WRITE", "True"), memory_path=memory)
    assert "SIGSEGV" in result.error
    assert await uses_index(sandbox, memory)


async def test_nobody_else_gets_it(big: tuple[Sandbox, Path], tmp_path: Path) -> None:
    sandbox, memory = big
    look = """
import os
used, found = search.__self__._index.usable, []
for number in range(64):
    try:
        os.fstat(number)
    except OSError:
        continue
    found.append(number)
"""
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "other", memory / "folder", None, memory):
        result = await sandbox.run(look, memory_path=path)
        assert result.error == "" and result.locals["used"] == str(path == memory)
        assert result.locals["found"] == "[0, 1, 2, 3]"  # standard streams and its socket, also with an index


async def test_a_memory_of_too_many_folders_gets_none(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")  # two, with its own
    async with bounded(folders=1) as sandbox:
        for _ in range(2):
            assert await uses_index(sandbox, memory) is False
            await indexes(sandbox).idle()


async def test_the_block_has_as_much_memory_as_without(big: tuple[Sandbox, Path], tmp_path: Path) -> None:
    sandbox, memory = big
    (tmp_path / "other").mkdir()
    code = "import resource\nroom, _ = resource.getrlimit(resource.RLIMIT_AS)"
    with_index, without = [
        int((await sandbox.run(code, memory_path=path)).locals["room"]) for path in (memory, tmp_path / "other")
    ]
    assert with_index - without == next(iter(indexes(sandbox)._kept.values())).size


async def test_closing_ends_what_is_being_made(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory", 2000)
    descriptors, processes = open_files(), descendants(os.getpid())
    async with open_sandbox("kernel") as sandbox:
        await uses_index(sandbox, memory)
        with trio.fail_after(10):
            while not indexes(sandbox)._kept:  # the watch is there, so the notes are read now
                await trio.sleep(0.001)
        assert indexes(sandbox)._making.value is not None
    assert indexes(sandbox)._making.value is None and not indexes(sandbox)._kept
    assert open_files() == descriptors
    assert descendants(os.getpid()) <= processes


async def test_no_index_can_be_made(tmp_path: Path) -> None:
    """There is no room for it; the tools work without it, and it is not retried again and again."""
    memory = filled(tmp_path / "memory", 1500)
    limits = SandboxLimits(view_bytes=65536)
    descriptors = open_files()
    async with open_sandbox("kernel", limits=limits) as sandbox:
        for _ in range(2):
            assert await uses_index(sandbox, memory) is False
            await indexes(sandbox).idle()
        assert len(indexes(sandbox)._failed_until) == 1 and not indexes(sandbox)._kept
    assert open_files() == descriptors


@pytest.mark.parametrize(("in_use", "have_one"), [(0.0, [True, True, False]), (60.0, [False, True, True])])
async def test_the_least_used_goes_first(tmp_path: Path, in_use: float, have_one: list[bool]) -> None:
    """Unless all are in use: then the third gets none, and pushes nobody out."""
    memories = [filled(tmp_path / f"memory{number}") for number in range(3)]
    async with bounded(memories=2, in_use_seconds=in_use) as sandbox:
        for memory in memories:
            await uses_index(sandbox, memory)
            await indexes(sandbox).idle()
        assert [await uses_index(sandbox, memory) for memory in reversed(memories)] == have_one


async def test_one_that_is_too_large_pushes_nobody_out(tmp_path: Path) -> None:
    small, large = filled(tmp_path / "small"), filled(tmp_path / "large", 1000)
    async with bounded(total_bytes=100_000) as sandbox:
        await uses_index(sandbox, small)
        await indexes(sandbox).idle()
        await uses_index(sandbox, large)
        await indexes(sandbox).idle()
        assert [await uses_index(sandbox, memory) for memory in (small, large)] == [True, False]


@pytest.mark.parametrize("scanned", ["-1", "10**30", "'x'", "None", "True", "1.5"])
async def test_a_block_lies_about_what_it_looked_at(sandbox: Sandbox, memory: Path, scanned: str) -> None:
    code = (
        "import json\nreal = json.dumps\njson.dumps = lambda reply, **how: real({**reply, 'scanned': SCANNED}, **how)"
    )
    await sandbox.run(code.replace("SCANNED", scanned), memory_path=memory)
    await indexes(sandbox).idle()
    assert (await sandbox.run("x = read_file('user.md')", memory_path=memory)).error == ""


@pytest.mark.parametrize("deep", [False, True])
def test_a_watch_looks_through_a_step_of_names_at_most(tmp_path: Path, deep: bool) -> None:
    """With more changes there is no telling, and the index is made anew."""
    for count, known in ((STEP_NAMES // 2, True), (STEP_NAMES + 1, False)):
        memory = tmp_path / f"memory of {count}"
        memory.mkdir()
        root = os.open(memory, os.O_RDONLY)
        watch = Watch(root, 100)
        try:
            folder = memory / "new" if deep else memory
            folder.mkdir(exist_ok=True)
            for number in range(count):
                (folder / f"{number}.md").symlink_to("x")  # one event, where the folder is watched
            found = watch.changed()
            assert (found is not None and len(found)) == (count if known else False)
        finally:
            watch.close()
            os.close(root)


def test_a_watch_that_cannot_follow_says_so(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")
    root = os.open(memory, os.O_RDONLY)
    watch = Watch(root, 100)
    try:
        assert watch.changed() == set()
        (memory / "a.md").write_text("x")
        (memory / ".hidden").write_text("x")
        assert watch.changed() == {"a.md"}
        for number in range(20_000):  # more than the kernel keeps (fs.inotify.max_queued_events)
            os.rename(memory / "a.md", memory / f"b{number}.md")
            os.rename(memory / f"b{number}.md", memory / "a.md")
        assert watch.changed() is None
    finally:
        watch.close()
        os.close(root)


async def test_a_note_that_may_not_be_read_is_not_counted(big: tuple[Sandbox, Path]) -> None:
    sandbox, memory = big
    os.chmod(memory / "note_7.md", 0)
    try:
        await uses_index(sandbox, memory)
    finally:
        os.chmod(memory / "note_7.md", 0o644)
    assert await uses_index(sandbox, memory)


async def test_what_is_shown_of_a_memory_has_an_index_of_its_own(tmp_path: Path) -> None:
    """It finds what a look at every note that is shown finds, and not one word of another in its bytes."""
    memory = filled(tmp_path / "memory")
    (memory / "private").mkdir()
    (memory / "private" / "diary.md").write_text("needle [[note_7]] zanzibar")
    vault = Memory(memory, policy=VaultPolicy(readable=("**", "!private/**", "!**/note_9.md")))
    look = f"""
data = search.__self__._index._data
x = (data is not None and bytes(data).find(b"zanzi") >= 0, "diary" in repr(search.__self__._index._changed))
{SEARCH}
"""
    async with open_sandbox("kernel") as sandbox:
        assert await uses_index(sandbox, memory) is False
        await indexes(sandbox).idle()
        assert await uses_index(sandbox, memory) is True
        for used in (False, True, True):  # the index of the whole memory is not for these blocks
            result = await sandbox.run(look, memory=vault)
            assert (result.error, result.locals["used"]) == ("", str(used))
            assert result.locals["x"] == "(False, False)"
            await indexes(sandbox).idle()
            (memory / "private" / "diary.md").write_text("needle zanzibar, once more")
        (memory / "folder" / "fresh.md").write_text("needle [[note_7]]")
        result = await sandbox.run(f"{look}\nfound = search('needle')", memory=vault)
        assert (result.error, result.locals["used"], result.locals["x"]) == ("", "True", "(False, False)")
        assert result.locals["found"] == "['folder/fresh.md:1: needle [[note_7]]']"
        result = await sandbox.run("found = search('needle')", memory=vault, readable=("**", "!folder/**"))
        assert (result.error, result.locals["found"]) == ("", "[]")


def test_a_build_that_answers_nonsense_is_no_index(tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")

    async def nonsense(code: str, root_fd: int, rules: AccessRules) -> tuple[Outcome, list[bytes]]:
        return Outcome(locals={"size": "1", "notes": "many"}), [b"x"]

    async def main() -> None:
        made = Indexes(nonsense, 1000)
        root = os.open(memory, os.O_RDONLY)
        async with open_helper_nursery() as made.background:
            made.learn(root, WORTH)
            await made.idle()
            with made.share(root) as lent:
                assert lent is None
        await made.aclose()
        os.close(root)

    trio.run(main)
