"""What a block's result says, and what becomes of its changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent._errors import InvalidInputError, SandboxError
from trioagent.memory import Knowledge, Memory, Receipt
from trioagent.sandbox import BlockResult, Sandbox, diagnose, open_sandbox
from trioagent.sandbox._sandbox import TIERS

pytestmark = pytest.mark.real


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_saves_what_a_good_block_wrote(sandbox: Sandbox, memory: Path) -> None:
    result = await sandbox.run("ok = create_file('entities/ada.md', '# Ada')\nprint('made', ok)", memory_path=memory)
    assert result == BlockResult(locals={"ok": "True"}, error="", printed="made True\n", saved=True, tier="kernel")
    assert tree(memory) == {"user.md": "# User\n- name: Ana\n", "entities/ada.md": "# Ada"}


async def test_saves_nothing_of_a_failed_block(sandbox: Sandbox, memory: Path) -> None:
    code = "import os\nos.remove('user.md')\ncreate_file('x.md', 'x')\ny = 1\nz = y + nothing"
    result = await sandbox.run(code, memory_path=memory)
    assert result.error == "NameError: name 'nothing' is not defined (line 5: z = y + nothing) Nothing was saved."
    assert result.locals == {"y": "1"}
    assert not result.saved
    assert tree(memory) == {"user.md": "# User\n- name: Ana\n"}


async def test_a_block_without_changes_is_not_saved(sandbox: Sandbox, memory: Path) -> None:
    result = await sandbox.run("with open('user.md', 'r+') as f:\n    f.write(f.read(0))", memory_path=memory)
    assert (result.error, result.saved) == ("", False)


async def test_without_memory_the_folder_is_empty_and_dropped(sandbox: Sandbox) -> None:
    first = await sandbox.run("create_file('a.md', 'x')\nnames = list_files()")
    second = await sandbox.run("names = list_files()")
    assert (first.locals["names"], first.saved, first.error) == ("['a.md']", False, "")
    assert second.locals["names"] == "[]"
    failed = await sandbox.run("1 / 0")
    assert failed.error == "ZeroDivisionError: division by zero (line 1: 1 / 0)"


async def test_folders_are_removed_and_made_anew(sandbox: Sandbox, memory: Path) -> None:
    for name in ("a/one.md", "a/deep/two.md", "a/deep/kept.md", "b.md/three.md"):
        (memory / name).parent.mkdir(parents=True, exist_ok=True)
        (memory / name).write_text(name)
    code = """
import os, shutil
shutil.rmtree("a")
os.makedirs("a/deep")
with open("a/deep/kept.md", "w") as f: f.write("new")
shutil.rmtree("b.md")
with open("b.md", "w") as f: f.write("a file now")
"""
    result = await sandbox.run(code, memory_path=memory)
    assert (result.error, result.saved) == ("", True)
    assert tree(memory) == {"a/deep/kept.md": "new", "b.md": "a file now", "user.md": "# User\n- name: Ana\n"}


async def test_exit_is_a_good_end(sandbox: Sandbox, memory: Path) -> None:
    for ending in ("exit()", "import sys\nsys.exit(0)", "raise SystemExit", "quit(None)"):
        result = await sandbox.run(f"create_file('x.md', {ending!r})\n{ending}", memory_path=memory)
        assert (result.error, result.saved) == ("", True), ending
    result = await sandbox.run("create_file('y.md', 'x')\nimport sys\nsys.exit('no good')", memory_path=memory)
    assert result.error == "SystemExit: no good (line 3: sys.exit('no good')) Nothing was saved."
    result = await sandbox.run("import os\nos._exit(3)", memory_path=memory)
    assert "ended its process itself (exit status 3)" in result.error


async def test_syntax_errors_name_the_line(sandbox: Sandbox) -> None:
    assert (await sandbox.run("x = 1\nif x\n  y")).error == "SyntaxError: expected ':' (line 2: if x)"
    assert (await sandbox.run("  x = 1")).error.startswith("IndentationError: unexpected indent (line 1")
    assert "null bytes" in (await sandbox.run("x\0y")).error
    assert (await sandbox.run("x = 1\n" * 20_000)).error == ""  # 120 kB


async def test_input_and_debugger_do_not_wait(sandbox: Sandbox) -> None:
    assert (await sandbox.run("x = input('name?')")).error.startswith("EOFError: EOF when reading a line (line 1")
    assert (await sandbox.run("breakpoint()")).error.startswith("RuntimeError: there is no debugger here")


async def test_values_are_bounded_and_plain(sandbox: Sandbox) -> None:
    code = r"""
import re, typing
from typing import List
big = "y" * 50_000_000
many = list(range(1_000_000))
short = "é\ud800"
class Quiet: pass
class Loud:
    def __repr__(self): raise KeyboardInterrupt
class Sly(str):
    def __repr__(self): return Sly("sly")
quiet, loud, sly = Quiet(), Loud(), Sly("x")
def helper(): pass
_kept, __dropped = 1, 2
"""
    result = await sandbox.run(code)
    assert result.error == ""
    assert set(result.locals) == {"big", "many", "short", "quiet", "loud", "sly", "_kept"}
    assert result.locals["big"].endswith(
        "y… (50000000 characters in all; for more, assign a part such as [19999:39998])"
    )
    assert len(result.locals["big"]) < 20_100
    assert result.locals["many"].startswith("[0, 1, 2,") and result.locals["many"].endswith(
        "… (1000000 items in all; for more, assign a part of it)"
    )
    assert result.locals["quiet"] == "<__main__.Quiet object>"
    assert result.locals["loud"] == "<Loud: its repr raised KeyboardInterrupt>"
    assert result.locals["sly"] == "sly"
    assert result.locals["short"] == r"'é\ud800'"


async def test_all_values_together_are_bounded(sandbox: Sandbox) -> None:
    result = await sandbox.run("for i in range(5000): globals()[f'v{i}'] = 'z' * 10000")
    assert sum(map(len, result.locals.values())) < 101_000
    assert result.locals["..."] == "more variables than fit here"


async def test_prints_are_bounded(sandbox: Sandbox) -> None:
    result = await sandbox.run("import sys\nfor i in range(100_000): print('x' * 10)\nprint('e', file=sys.stderr)")
    assert result.printed.endswith("… (1080002 more characters)")
    assert len(result.printed) < 20_100


async def test_limits() -> None:
    limits = SandboxLimits(wall_seconds=0.4, cpu_seconds=1, reply_bytes=20_000)
    async with open_sandbox(limits=limits) as sandbox:
        sleeping = await sandbox.run("import time\ntime.sleep(60)")
        assert sleeping.error == "TimeoutError: the block ran longer than 0.4 s and was stopped."
        greedy = await sandbox.run("x = bytearray(1 << 30)")
        assert greedy.error == "MemoryError (line 1: x = bytearray(1 << 30))"
        large = await sandbox.run("x = 'y' * 19_000\nz = x")
        assert large.error == "the block's result is too large to send back"
    async with open_sandbox(limits=SandboxLimits(cpu_seconds=1)) as sandbox:
        busy = await sandbox.run("while True: pass")
        assert busy.error == "TimeoutError: the block used more than 1 s of processor time and was stopped."


async def test_file_limits(memory: Path) -> None:
    async with open_sandbox(limits=SandboxLimits(file_bytes=10_000, view_bytes=100_000, view_files=20)) as sandbox:
        for code in (
            "open('big.md', 'w').write('x' * 20_000)",
            "f = open('big.md', 'w')\nf.write('x' * 20_000)",  # fails only when it is written out
            "for i in range(50): open(f'{i}.md', 'w').write('x' * 9_000)",
            "for i in range(50): open(f'{i}.md', 'w').close()",
            "import os\nos.truncate('user.md', 1 << 40)",
        ):
            result = await sandbox.run(code, memory_path=memory)
            assert result.error.startswith("OSError: "), code
            assert result.error.endswith("Nothing was saved.")
        assert tree(memory) == {"user.md": "# User\n- name: Ana\n"}


async def test_open_files_are_limited(sandbox: Sandbox) -> None:
    result = await sandbox.run("files = [open('a.md', 'w') for _ in range(100)]")
    assert result.error.startswith("OSError: [Errno 24] Too many open files")
    assert (await sandbox.run("files = [open('a.md', 'w') for _ in range(50)]")).error == ""


async def test_crashes_are_explained(sandbox: Sandbox) -> None:
    crash = await sandbox.run("import ctypes\nctypes.string_at(0)")
    assert crash.error == "RuntimeError: the block crashed the interpreter (SIGSEGV)."
    assert (await sandbox.run("x = 1")).error == ""


async def test_refused_changes_are_the_blocks_error(sandbox: Sandbox, memory: Path) -> None:
    odd = await sandbox.run(r"open(b'\xff.md', 'w').close()", memory_path=memory)
    assert odd.error.startswith("MemoryLimitError: ") and "UTF-8" in odd.error
    assert odd.error.endswith("Nothing was saved.")
    own = await sandbox.run("import os\nos.mkdir('.trioagent')", memory_path=memory)
    assert "reserved name" in own.error
    deep = await sandbox.run(
        "import os\nfor _ in range(200):\n    os.mkdir('d')\n    os.chdir('d')", memory_path=memory
    )
    assert deep.error.startswith("MemoryLimitError: ")
    assert os.listdir(memory) == ["user.md"]


async def test_lost_updates_are_refused(sandbox: Sandbox, memory: Path) -> None:
    knowledge = Knowledge()
    await sandbox.run("t = open('user.md').read()", memory_path=memory, knowledge=knowledge)
    (memory / "user.md").write_text("changed by hand")
    result = await sandbox.run("open('user.md', 'w').write('mine')", memory_path=memory, knowledge=knowledge)
    assert "read it again" in result.error and not result.saved
    assert tree(memory) == {"user.md": "changed by hand"}
    again = await sandbox.run(
        "t = read_file('user.md')\nopen('user.md', 'w').write('mine')", memory_path=memory, knowledge=knowledge
    )
    assert (again.error, again.saved) == ("", True)


async def test_receipts_hold_the_result_and_stay_hidden(sandbox: Sandbox, memory: Path) -> None:
    store = Memory(memory)
    result = await sandbox.run(
        "create_file('x.md', 'x')\ny = 1",
        memory=store,
        receipt=lambda result, changes, seen: Receipt("job-1", repr((result.locals, changes.writes)).encode()),
    )
    assert result.saved
    assert await store.read_receipt("job-1") == b"({'y': '1'}, {'x.md': b'x'})"
    hidden = await sandbox.run("import os\nnames = sorted(os.listdir())", memory=store)
    assert hidden.locals["names"] == "['user.md', 'x.md']"


async def test_bad_arguments(sandbox: Sandbox, memory: Path) -> None:
    with pytest.raises(InvalidInputError, match="code"):
        await sandbox.run(b"x = 1")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="not both"):
        await sandbox.run("x = 1", memory_path=memory, memory=Memory(memory))
    with pytest.raises(InvalidInputError, match="not a name that code can call"):
        await sandbox.run("x = 1", host_tools={"not a name": trio.sleep})
    with pytest.raises(InvalidInputError, match="must be one of kernel, kernel-lite, monty"):
        async with open_sandbox("docker"):
            pass


async def test_diagnose() -> None:
    reports = await diagnose()
    assert [report.tier for report in reports] == list(TIERS)
    names = {report.tier: [check.name for check in report.checks] for report in reports}
    assert names["kernel"] == ["namespaces", "landlock", "a block"]
    assert names["kernel-lite"] == ["landlock", "view", "a block"]
    for report in reports:
        assert all(check.ok and check.detail for check in report.checks) == report.works
        assert report.works or report.tier == "monty"


async def test_a_memory_that_was_moved_under_a_mount_is_refused(sandbox: Sandbox, memory: Path) -> None:
    executor = sandbox._executor
    root = os.open(memory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        memory.rename(memory.parent / "elsewhere")
        outcome = await executor.execute("x = list_files()", root_fd=root, hide=False, host_tools={})
        assert outcome.locals["x"] == "['user.md']"  # its new name is found by its descriptor
        os.rename(memory.parent / "elsewhere" / "user.md", memory.parent / "user.md")
        os.rmdir(memory.parent / "elsewhere")
        with pytest.raises(SandboxError, match="view"):
            await executor.execute("x = 1", root_fd=root, hide=False, host_tools={})
    finally:
        os.close(root)


async def test_each_block_has_randomness_of_its_own(sandbox: Sandbox) -> None:
    code = "import random, uuid\nvalues = (random.random(), random.getrandbits(64), str(uuid.uuid4()))"
    seen = {(await sandbox.run(code)).locals["values"] for _ in range(5)}
    assert len(seen) == 5
