"""Which interpreter sandbox processes run in: a launcher that is none never starts itself without end."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trioagent._config import SandboxLimits
from trioagent._errors import SandboxUnavailableError
from trioagent.sandbox import _zygote, open_sandbox

from .plain_user import CHECKOUT

pytestmark = pytest.mark.real

# A program that Python runs in, as a frozen one: it counts its starts, and runs its own code whatever it is asked to.
LAUNCHER = """#!/bin/sh
echo start >> {starts}
exec {python} {program}
"""
PROGRAM = """
import sys, trio
sys.executable = {launcher!r}
if {frozen}:
    sys.frozen = True
from trioagent import SandboxLimits, SandboxUnavailableError, open_sandbox

async def main():
    try:
        async with open_sandbox(limits=SandboxLimits(python={named!r})) as sandbox:
            print((await sandbox.run("x = 6 * 7")).locals["x"])
    except SandboxUnavailableError as error:
        print(error)

trio.run(main)
"""


def started(folder: Path, *, frozen: bool = False, named: str | None = None) -> tuple[str, int]:
    """What such a program printed, and how often it was started."""
    starts, launcher, program = folder / "starts", folder / "launcher", folder / "program.py"
    program.write_text(PROGRAM.format(launcher=str(launcher), frozen=frozen, named=named))
    launcher.write_text(LAUNCHER.format(starts=starts, python=sys.executable, program=program))
    launcher.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    run = subprocess.run([launcher], env=environment, capture_output=True, text=True, timeout=120, check=True)
    return run.stdout, len(starts.read_text().splitlines())


def test_a_launcher_that_runs_itself_is_started_once_for_each_tier(tmp_path: Path) -> None:
    printed, starts = started(tmp_path)
    assert f"is {tmp_path}/launcher a Python interpreter?" in printed
    assert starts <= 4


def test_a_frozen_program_starts_nothing(tmp_path: Path) -> None:
    printed, starts = started(tmp_path, frozen=True)
    assert "is a frozen program and no Python interpreter; name a Python interpreter in SandboxLimits.python" in printed
    assert starts == 1


def test_an_interpreter_can_be_named(tmp_path: Path) -> None:
    assert started(tmp_path, frozen=True, named=sys.executable) == ("42\n", 1)


async def test_one_that_was_started_by_mistake_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIOAGENT_SANDBOX_PROCESS", "1")
    with pytest.raises(SandboxUnavailableError, match="started as an interpreter for a sandbox"):
        async with open_sandbox("kernel"):
            pass


async def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match=f"cannot start {tmp_path}/nothing: "):
        async with open_sandbox("kernel", limits=SandboxLimits(python=str(tmp_path / "nothing"))):
            pass


def test_a_package_in_an_archive_says_to_unpack_it(tmp_path: Path) -> None:
    archive = tmp_path / "everything.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (CHECKOUT / "trioagent").rglob("*.py"):
            file.write(path, path.relative_to(CHECKOUT))
    code = """
import trio, trioagent
async def main():
    async with trioagent.open_sandbox():
        pass
try:
    trio.run(main)
except trioagent.SandboxUnavailableError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(archive)}, cwd=tmp_path, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stdout.count("lies in an archive; install trioagent unpacked") == 3, run.stderr


def test_the_interpreter_that_runs_the_program_is_the_usual_one() -> None:
    assert _zygote.interpreter(None) == sys.executable
