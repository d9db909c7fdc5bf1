"""A layered view does what an overlay does, for all that Python code can do with files."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trioagent.sandbox import Sandbox, open_sandbox

from .file_programs import differences
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
