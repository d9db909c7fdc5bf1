"""The commands in ``docs/how-to/batch.md`` do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trioagent.batch import CONVERSATIONS, read_rows

from .support import SECONDS, environment

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "batch.md"
ENDS = {"-s INT": {0, 130}, "-s KILL": {0, 137, -9}, "--max-tokens-total 2000": {1}}


def test_every_command_as_written(home: Path) -> None:
    """Each in a shell, in order, in one folder; what the page shows is printed, but for counts of tokens and times."""
    programs = home / "bin"
    programs.mkdir()
    (programs / "trioagent").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trioagent "$@"\n')
    (programs / "trioagent").chmod(0o755)
    env = environment(home, PATH=f"{programs}:{os.environ['PATH']}")
    shown = [
        example
        for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert len(shown) >= 11
    for example in shown:
        document = re.fullmatch(r"(.*<< 'END'\n.*\nEND\n)()", example, re.DOTALL)
        command, output = document.groups() if document else example.split("\n", 1)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        expected = next((codes for words, codes in ENDS.items() if words in command.replace("20000", "")), {0})
        assert done.returncode in expected, (command, done.stdout)
        if output:
            assert _masked(done.stdout) == _masked(output)
    rows = list(read_rows(home / "runs" / "many" / CONVERSATIONS))
    assert len({row["id"] for row in rows}) == len(rows) == 150


def _masked(text: str) -> str:
    return re.sub(r"[\d,]+ (tokens|to read)|[\d.]+ s\b", "N", text)
