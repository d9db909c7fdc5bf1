"""In jails such as containers are: the tier that is taken, blocks that work, attacks that are contained, no zombies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .plain_user import CHECKOUT

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.getuid() != 0, reason="only root can make jails")]

# The others of `tests.sandbox.jails` take the second, too.
TIERS = {
    "docker": "kernel-lite",
    "docker, unconfined": "kernel",
    "kubernetes, restricted": "kernel-lite",
}
EVERY = 40
"""Of the blocks and attacks, so that it takes seconds here; ``python -m tests.sandbox.jails NAME`` tries all."""
NOT_CONTAINED = {"stat_outside"}
"""Where a block's root is not its memory, for want of a capability: see `tests.sandbox.tiers`."""


def jailed(name: str, every: int) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.sandbox.jails", name, str(every)]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", TIERS)
def test_blocks_run_and_attacks_are_contained(name: str) -> None:
    if "restricted" in name and str(CHECKOUT).startswith("/tmp/"):
        pytest.skip("the jail's /tmp hides this checkout, which is below /tmp")
    found = jailed(name, EVERY)
    assert found.get("tier") == TIERS[name], found
    assert (found["pid"], found["wrong"], found["zombies"]) == (1, {}, [])
    signs = found["signs"]
    assert isinstance(signs, dict) and signs.keys() <= NOT_CONTAINED, signs


@pytest.mark.skipif(find_spec("pydantic_monty") is None, reason="the extra is not installed")
def test_without_landlock_monty_is_taken() -> None:
    assert jailed("gvisor", EVERY)["tier"] == "monty"
