"""`constraints.txt` names, exactly, every package that the tests run with."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

LOCK = Path(__file__).parents[1] / "constraints.txt"
OURS_AND_PIPS = {"trioagent", "pip", "setuptools", "wheel"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_that_is_installed_is_locked() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    locked = {normal(name): version for name, version in (line.split("==") for line in lines)}
    assert len(locked) == len(lines)
    installed = {normal(found.name): found.version for found in distributions()}
    assert {name: locked.get(name) for name in installed if name not in OURS_AND_PIPS} == {
        name: version for name, version in installed.items() if name not in OURS_AND_PIPS
    }
