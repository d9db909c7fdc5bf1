"""Blocks get the whole standard library, though most run where only the common part of it is imported."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from trioagent._config import SandboxLimits
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._zygote import lacks_module, needs_full_library

from .processes import alive, descendants

PRESENT = frozenset({"os", "os.path", "json", "re", "datetime", "collections", "collections.abc", "urllib.parse"})


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "import os, re",
        "from datetime import datetime, timedelta",
        "import os.path as path",
        "from collections.abc import Mapping",
        "from urllib.parse import quote",
        "import offline_rules",
        "note = 'statistics and csv'",
        "import not_there",
    ],
)
def test_usual_imports(code: str) -> None:
    assert not needs_full_library(code, PRESENT)


@pytest.mark.parametrize(
    "code",
    [
        "import csv",
        "x = 1\nif x:\n    from statistics import (\n        mean,\n    )",
        "import os, sqlite3",
        "import json.tool",
        "from urllib import request",
        "import urllib",
        "m = __import__('zlib')",
        "import importlib; m = importlib.import_module('bz2')",
    ],
)
def test_other_imports(code: str) -> None:
    assert needs_full_library(code, PRESENT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("", False),
        ("ModuleNotFoundError: No module named '_sqlite3' (line 1: import x)", True),
        ("ModuleNotFoundError: No module named 'zlib'", True),
        ("ModuleNotFoundError: No module named 'requests'", False),
        ("LookupError: unknown encoding: shift_jis (line 1: x)", True),
        ("ValueError: ModuleNotFoundError: No module named 'zlib'", False),
    ],
)
def test_what_was_missed(error: str, expected: bool) -> None:
    assert lacks_module(error) is expected


@pytest.mark.real
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite"])
async def test_whatever_way_a_module_is_asked_for_it_is_there(tier: str, tmp_path: Path) -> None:
    blocks = {
        "import sqlite3\nx = sqlite3.connect(':memory:').execute('select 1+1').fetchone()": "(2,)",
        "x = __import__('sql' + 'ite3').sqlite_version[:1]": "'3'",
        "x = 'ア'.encode('shift' + '_jis')": "b'\\x83A'",
        "exec('imp' + 'ort zlib')\nx = zlib.crc32(b'')": "0",
        "x = 'é'.encode('cp1252')": "b'\\xe9'",
    }
    async with open_sandbox(tier) as sandbox:
        for number, (code, expected) in enumerate(blocks.items()):
            result = await sandbox.run(f"create_file('n{number}.md')\n{code}", memory_path=tmp_path)
            assert (result.error, result.locals.get("x"), result.saved) == ("", expected, True), code
    assert sorted(os.listdir(tmp_path)) == [f"n{number}.md" for number in range(len(blocks))]


@pytest.mark.real
async def test_a_block_that_called_the_host_is_not_run_again() -> None:
    calls = []

    async def note(value: int) -> None:
        calls.append(value)

    async with open_sandbox() as sandbox:
        result = await sandbox.run("note(1)\nx = __import__('sql' + 'ite3')", host_tools={"note": note})
    assert result.error.startswith("ModuleNotFoundError: No module named '_sqlite3'")
    assert calls == [1]


@pytest.mark.real
async def test_the_whole_library_is_made_when_it_is_wanted_and_again_if_it_dies() -> None:
    before = descendants(os.getpid())
    async with open_sandbox() as sandbox:
        common = await _zygotes(sandbox, "x = 1", before)
        both = await _zygotes(sandbox, "import sqlite3", before)
        assert both > common
        for pid in both - common:
            os.kill(pid, signal.SIGKILL)
        while alive(both - common):
            await trio.sleep(0.005)
        assert (await sandbox.run("import sqlite3\nx = 1")).locals["x"] == "1"
        assert (await sandbox.run("x = 2")).locals["x"] == "2"
    assert descendants(os.getpid()) == before


async def _zygotes(sandbox: Sandbox, code: str, before: set[int]) -> set[int]:
    """The processes that carry zygotes' own socket, after *code* has run."""
    assert (await sandbox.run(code)).error == ""
    return {child for child in descendants(os.getpid()) - before if _parent(child) == os.getpid()}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.real
async def test_both_runs_together_have_one_block_s_time() -> None:
    code = "import time\ntime.sleep(0.7)\nx = __import__('sql' + 'ite3')"
    async with open_sandbox(limits=SandboxLimits(wall_seconds=1.0)) as sandbox:
        await sandbox.run("import sqlite3")
        result = await sandbox.run(code)
    assert result.error.startswith("TimeoutError: the block ran longer than 1 s and was stopped.")
