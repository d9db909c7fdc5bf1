"""``make demo``: the main job once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .support import SECONDS, environment

pytestmark = pytest.mark.real


def test_the_demo_shows_the_main_job_and_leaves_nothing(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trioagent.cli.demo"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(home, TMPDIR=str(home)),
        cwd=home,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("you> ") == 4
    assert done.stdout.count("notes saved (kernel)") == 3
    answer = done.stdout.partition("Where does my sister work?")[2]
    assert "Northwind Traders" in answer.partition("3. The notes")[0]
    assert "entities/ada.md" in answer.partition("3. The notes")[0]
    notes = answer.partition("3. The notes")[2]
    assert "user.md" in notes
    assert "peanuts" in notes
    assert "sandbox tier 'kernel'" in notes
    assert "view --memory notes" in done.stdout.splitlines()[-1]
    assert list(home.iterdir()) == []
