"""What is different without namespaces: layered views, limits looked after from outside, folders to remove."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.memory import Memory, Receipt
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._guest import copying
from trioagent.sandbox._guest.views import PREFIX, Scratch, best_place, remove_left_behind

from .test_run import tree

pytestmark = pytest.mark.real


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox("kernel-lite") as sandbox:
        yield sandbox


def views(sandbox: Sandbox) -> list[str]:
    return os.listdir(str(sandbox._executor.handshake["scratch"]))  # type: ignore[attr-defined]


async def test_all_kinds_of_changes_come_back(sandbox: Sandbox, memory: Path) -> None:
    for name in ("a/one.md", "a/deep/two.md", "a/deep/kept.md", "b/three.md", "same.md", "mapped.md"):
        (memory / name).parent.mkdir(parents=True, exist_ok=True)
        (memory / name).write_text(name)
    os.symlink("user.md", memory / "link")
    os.mkfifo(memory / "fifo")
    (memory / "empty").mkdir()
    code = """
import mmap, os, shutil
shutil.rmtree("a")
os.makedirs("a/deep")
with open("a/deep/kept.md", "w") as f: f.write("new")
os.rename("b", "c")
os.rmdir("empty")
with open("same.md", "r+") as f: f.write("same")
with open("mapped.md", "r+b") as f, mmap.mmap(f.fileno(), 0) as view: view[0:1] = b"M"
through = open("link").read()
names = sorted(os.listdir())
who = os.getuid()
"""
    result = await sandbox.run(code, memory_path=memory)
    assert (result.error, result.saved, result.tier) == ("", True, "kernel-lite")
    assert result.locals["through"] == repr("# User\n- name: Ana\n")
    assert "fifo" not in result.locals["names"]
    assert result.locals["who"] == "1000"  # whoever it is
    assert stat.S_ISFIFO((memory / "fifo").lstat().st_mode)
    os.unlink(memory / "fifo")
    assert os.readlink(memory / "link") == "user.md"
    os.unlink(memory / "link")
    assert sorted(os.listdir(memory)) == ["a", "c", "mapped.md", "same.md", "user.md"]
    assert tree(memory) == {
        "a/deep/kept.md": "new",
        "c/three.md": "b/three.md",
        "mapped.md": "Mapped.md",
        "same.md": "same.md",
        "user.md": "# User\n- name: Ana\n",
    }
    assert (await sandbox.run("import os\nos.mkdir('.trioagent')", memory_path=memory)).error.startswith(
        "MemoryLimitError: .trioagent: is a reserved name"
    )
    with trio.fail_after(10):
        while len(views(sandbox)) > 1:  # the spare child's stays
            await trio.sleep(0.005)


async def test_receipts_stay_hidden(sandbox: Sandbox, memory: Path) -> None:
    store = Memory(memory)
    result = await sandbox.run(
        "create_file('x.md', 'x')", memory=store, receipt=lambda result, changes, seen: Receipt("job-1", b"done")
    )
    assert result.saved
    again = await sandbox.run("import os\nnames = sorted(os.listdir())\nos.remove('x.md')", memory=store)
    assert (again.error, again.locals["names"]) == ("", "['user.md', 'x.md']")
    assert await store.read_receipt("job-1") == b"done"


async def test_limits_on_what_is_written(memory: Path) -> None:
    limits = SandboxLimits(file_bytes=10_000, view_bytes=100_000, view_files=20)
    (memory / "old.md").write_text("x" * 200_000)  # what was there before does not count
    async with open_sandbox("kernel-lite", limits=limits) as sandbox:
        for code, problem in (
            ("open('big.md', 'w').write('x' * 20_000)", "OSError: [Errno 27] File too large"),
            ("for i in range(15): open(f'{i}.md', 'w').write('x' * 9_000)", "MemoryLimitError: "),
            ("for i in range(50): open(f'{i}.md', 'w').close()", "MemoryLimitError: .: 50 files and folders"),
            ("import os\nos.truncate('user.md', 1 << 40)", "OSError: "),
            # Those that go on are stopped while they run.
            (
                "import time\nfor i in range(15): open(f'{i}.md', 'w').write('x' * 9_000)\ntime.sleep(60)",
                "OSError: the block wrote more than 100000 bytes or 20 files and was stopped.",
            ),
            ("for i in range(10**9): open(f'{i}.md', 'w').close()", "OSError: the block wrote more than"),
            ("import os\nfor i in range(10**9):\n    os.mkdir('d')\n    os.chdir('d')", "OSError: "),
        ):
            result = await sandbox.run(code, memory_path=memory)
            assert result.error.startswith(problem), (code, result.error)
            assert result.error.endswith("Nothing was saved."), code
    assert sorted(os.listdir(memory)) == ["old.md", "user.md"]


async def test_a_memory_of_any_size(sandbox: Sandbox, memory: Path) -> None:
    """Nothing of it is copied."""
    (memory / "huge.md").touch()
    os.truncate(memory / "huge.md", 1 << 40)
    result = await sandbox.run("import os\nsize = os.path.getsize('huge.md')", memory_path=memory)
    assert (result.error, result.locals) == ("", {"size": str(1 << 40)})


@pytest.mark.parametrize("bound", [{"max_bytes": 30}, {"max_entries": 5}, {"max_depth": 3}])
def test_what_is_copied_is_bounded(bound: dict[str, Any], tmp_path: Path) -> None:
    """Each by itself: within all of them a tree is copied whole."""
    (tmp_path / "old" / "a" / "b" / "c").mkdir(parents=True)
    for note in ("1.md", "a/2.md"):
        (tmp_path / "old" / note).write_text("x" * 15)

    def copied(folder: str) -> None:
        (tmp_path / folder).mkdir()
        old, new = (os.open(tmp_path / place, copying.FOLDER) for place in ("old", folder))
        try:
            copying.copy_tree(old, new, None, **bound)
        finally:
            os.close(old)
            os.close(new)

    copied("whole")
    assert tree(tmp_path / "whole") == {"1.md": "x" * 15, "a/2.md": "x" * 15}
    (tmp_path / "old" / "a" / "b" / "c" / "d").mkdir()
    (tmp_path / "old" / "a" / "b" / "c" / "d" / "3.md").write_text("x")
    with pytest.raises(copying.TooLarge):
        copied("more")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_notes_of_several_users(sandbox: Sandbox, memory: Path) -> None:
    os.chown(memory / "user.md", 12345, 54321)
    result = await sandbox.run("open('user.md', 'a').write('more')\ncreate_file('x.md', 'x')", memory_path=memory)
    assert (result.error, result.saved) == ("", True)
    assert tree(memory) == {"user.md": "# User\n- name: Ana\nmore", "x.md": "x"}


async def test_a_killed_zygotes_views_are_removed(sandbox: Sandbox, memory: Path) -> None:
    executor = sandbox._executor
    scratch = str(executor.handshake["scratch"])  # type: ignore[attr-defined]

    async def die() -> None:
        os.kill(executor.pid, signal.SIGKILL)  # type: ignore[attr-defined]

    code = "die()\nimport time\ntime.sleep(60)"
    result = await sandbox.run(code, memory_path=memory, host_tools={"die": die})
    assert result.error.startswith("RuntimeError: the process that ran the block was killed from outside")
    assert (await sandbox.run("x = 2", memory_path=memory)).locals == {"x": "2"}
    assert not os.path.exists(scratch)


def test_what_was_left_behind_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left, living = Scratch(str(tmp_path)), Scratch(str(tmp_path))
    for descriptor in left.make("view")[:2]:
        os.close(descriptor)
    os.close(left.folder)  # unlocked, as by the death of its process
    other = tmp_path / "something-else"
    other.mkdir()
    remove_left_behind(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([os.path.basename(living.path), other.name])
    assert os.path.basename(living.path).startswith(PREFIX)
    living.remove()
    assert os.listdir(tmp_path) == [other.name]
    os.close(living.folder)


def test_the_place_has_room() -> None:
    fallback = tempfile.gettempdir()
    assert best_place(1 << 60, fallback) == fallback


def test_hostile_trees_are_removed(tmp_path: Path) -> None:
    parent = os.open(tmp_path, copying.FOLDER)
    os.mkdir("view", dir_fd=parent)
    here = os.open("view", copying.FOLDER, dir_fd=parent)
    for number in range(3000):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, copying.FOLDER, dir_fd=here)
        if number % 100 == 0:
            os.symlink("/etc/passwd", "link", dir_fd=here)
            os.close(os.open(b"\xff\xfe", os.O_CREAT | os.O_WRONLY, 0, dir_fd=here))
        os.close(here)
        here = below
    os.mkdir("closed", 0, dir_fd=here)
    os.close(here)
    copying.remove_tree("view", parent)
    os.close(parent)
    assert os.listdir(tmp_path) == []
    assert os.path.exists("/etc/passwd")
