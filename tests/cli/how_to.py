"""Runs what a page of the documentation shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from .support import SECONDS, environment

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def run_page(name: str, home: Path, *, codes: Mapping[str, set[int]], masked: Callable[[str], str]) -> int:
    """Run every command of a page, each in a shell, in order, in one folder; what is shown must be printed.

    Args:
        codes: the exit codes that are right for commands with these words in them; 0 for all others.
        masked: takes out of an output what differs each time.

    Returns:
        how many commands there were.
    """
    programs = home / "bin"
    programs.mkdir()
    (programs / "trioagent").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trioagent "$@"\n')
    (programs / "trioagent").chmod(0o755)
    env = environment(home, PATH=f"{programs}:{os.environ['PATH']}")
    shown = [
        example
        for block in re.findall(r"```console\n(.*?)```", (PAGES / name).read_text(encoding="utf-8"), re.DOTALL)
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
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
        expected = next((good for words, good in codes.items() if words in command), {0})
        assert done.returncode in expected, (command, done.stdout)
        if output:
            assert masked(done.stdout) == masked(output)
    return len(shown)
