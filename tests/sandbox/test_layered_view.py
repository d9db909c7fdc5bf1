"""A layered view does what an overlay does, for all that Python code can do with files."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._guest.syscalls import libc

from .file_programs import differences, make_memory
from .indexed_search import SEARCH, filled, indexes, uses_index
from .plain_user import PlainUser

pytestmark = pytest.mark.real


@pytest.fixture
async def lite() -> AsyncIterator[Sandbox]:
    async with open_sandbox("kernel-lite") as sandbox:
        yield sandbox


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_as_an_overlay(seed: int, tmp_path: Path) -> None:
    assert await differences(seed, tmp_path) == []


def test_as_an_overlay_for_a_plain_user(plain_user: PlainUser) -> None:
    """Its root is not the memory there, and it may not read what links say."""
    seeds = [str(seed) for seed in range(100, 104)]
    run = plain_user.run("tests.sandbox.file_programs", *seeds)
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == {seed: [] for seed in seeds}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_a_memory_that_holds_a_mount(tier: str, memory: Path) -> None:
    """No overlay can be laid over it."""
    inner = memory / "inner"
    inner.mkdir()
    assert libc.mount(b"tmpfs", bytes(inner), b"tmpfs", 0, None) == 0
    try:
        (inner / "old.md").write_text("old")
        async with open_sandbox(tier) as sandbox:
            for number in range(2):
                code = f"create_file('new{number}.md', read_file('inner/old.md'))"
                result = await sandbox.run(code, memory_path=memory)
                assert (result.error, result.saved, result.tier) == ("", True, tier)
                assert (memory / f"new{number}.md").read_text() == "old"
            result = await sandbox.run("delete_file('inner/old.md')", memory_path=memory)
            assert "this folder is mounted from elsewhere" in result.error
            assert (await sandbox.run("x = 1", memory_path=memory.parent)).tier == tier  # one that does not
    finally:
        assert libc.umount(bytes(inner)) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
async def test_a_memory_on_an_overlay_over_an_overlay(tmp_path: Path) -> None:
    assert libc.mount(b"tmpfs", bytes(tmp_path), b"tmpfs", 0, None) == 0
    mounted = [tmp_path]
    try:
        below = tmp_path / "0"
        below.mkdir()
        for number in "12":
            layers = {kind: tmp_path / f"{number}-{kind}" for kind in ("upperdir", "workdir")}
            here = tmp_path / number
            for folder in (here, *layers.values()):
                folder.mkdir()
            options = ",".join(f"{kind}={folder}" for kind, folder in {"lowerdir": below, **layers}.items())
            assert libc.mount(b"overlay", bytes(here), b"overlay", 0, options.encode()) == 0
            mounted.append(here)
            below = here
        memory = make_memory(below / "memory")
        async with open_sandbox("kernel") as sandbox:
            result = await sandbox.run("create_file('new.md', read_file('a/one.md'))", memory_path=memory)
        assert (result.error, result.saved, (memory / "new.md").read_text()) == ("", True, "one")
    finally:
        for folder in reversed(mounted):
            assert libc.umount(bytes(folder)) == 0


async def test_searches_have_an_index(lite: Sandbox, tmp_path: Path) -> None:
    memory = filled(tmp_path / "memory")
    assert await uses_index(lite, memory) is False
    await indexes(lite).idle()
    assert await uses_index(lite, memory) is True
    found = await lite.run(
        SEARCH + "\nopen('new.md', 'w').write('a needle more')\nagain = search('needle')", memory_path=memory
    )
    assert "new.md" in found.locals["again"]


async def test_what_opens_files_in_c_sees_the_committed_notes(lite: Sandbox, memory: Path) -> None:
    code = """
import sqlite3
with open("facts.md", "wb") as note:
    note.write(b"changed")
with open("facts.md", "rb") as note:
    mine = note.read()
try:
    sqlite3.connect("new.sqlite").execute("create table t (a)")
    written = True
except sqlite3.OperationalError:
    written = False
database = sqlite3.connect("file:facts.md?mode=ro", uri=True)
found = database.execute("select a from t").fetchall()
"""
    make = """
import sqlite3
database = sqlite3.connect("facts.md")
database.execute("create table t (a)")
database.execute("insert into t values (7)")
database.commit()
"""
    async with open_sandbox("kernel") as kernel:
        assert (await kernel.run(make, memory_path=memory)).saved
    before = (memory / "facts.md").read_bytes()
    result = await lite.run(code, memory_path=memory)
    assert (result.locals["mine"], result.locals["written"], result.locals["found"]) == (
        "b'changed'",
        "False",
        "[(7,)]",
    )
    assert (memory / "facts.md").read_bytes() == b"changed" != before
    assert sorted(os.listdir(memory)) == ["facts.md", "user.md"]
