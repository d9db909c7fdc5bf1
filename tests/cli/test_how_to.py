"""The commands in ``docs/how-to/cli.md`` do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .support import SECONDS, environment

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cli.md"


def test_every_command_as_written(home: Path) -> None:
    """Each in a shell, in order, in one folder; where the page shows what is printed, exactly that is printed."""
    shown = [
        example.partition("\n")
        for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert len(shown) > 10
    programs = home / "bin"
    programs.mkdir()
    (programs / "trioagent").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trioagent "$@"\n')
    (programs / "trioagent").chmod(0o755)
    env = environment(home, PATH=f"{programs}:{os.environ['PATH']}")
    for command, _, output in shown:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        assert (command, done.returncode, done.stderr) == (command, 0, "")
        assert not output or done.stdout == output
