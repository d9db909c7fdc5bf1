"""In jails such as containers are: the tier that is taken, blocks that work, attacks that are contained, no zombies.

``make test-jails`` tries all blocks and all attacks in each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .jails import JAILS
from .plain_user import CHECKOUT

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.getuid() != 0, reason="only root can make jails")]

CONFINED = [name for name, jail in JAILS.items() if jail.tier != "monty"]
EVERY = len(CONFINED)
"""Each block and each attack is tried in one of these jails."""
BY_MONTY = [name for name, jail in JAILS.items() if jail.tier == "monty"]


def found_in(name: str, every: int, first: int) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.sandbox.jails", name, str(every), str(first)]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=False)
    assert run.stdout, run.stderr
    found: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", CONFINED)
def test_blocks_run_and_attacks_are_contained(name: str) -> None:
    found = found_in(name, EVERY, CONFINED.index(name))
    if "skipped" in found:
        pytest.skip(str(found["skipped"]))
    assert found["problems"] == {}


@pytest.mark.skipif(find_spec("pydantic_monty") is None, reason="the extra is not installed")
@pytest.mark.parametrize("name", BY_MONTY)
def test_without_landlock_monty_is_taken(name: str) -> None:
    assert found_in(name, EVERY, BY_MONTY.index(name) + 1)["problems"] == {}
