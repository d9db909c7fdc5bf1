"""Where the kernel refuses something: which tier is taken, and what is said if none is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .plain_user import CHECKOUT, PlainUser

pytestmark = pytest.mark.real

# Scenario, or scenario=tier asked for: the tier that is taken.
TAKEN = {
    "nothing refused": "kernel",
    "namespaces forbidden": "kernel-lite",
    "namespaces used up": "kernel-lite",
    "mounts forbidden": "kernel-lite",
    "another user namespace": "kernel",
}
# What is said where none is taken: for each tier tried, what failed and what to do.
REFUSED = {
    "namespaces missing=kernel": {"kernel": ("namespaces: OSError: [Errno 22] unshare", "must have user, pid")},
    "nothing works": {
        "kernel": ("namespaces: PermissionError: [Errno 1] unshare", "kernel.apparmor_restrict_unprivileged_userns=0"),
        "kernel-lite": ("no Landlock here (landlock_create_ruleset: Operation not permitted)", "6.2 or newer"),
        "monty": ("monty: ", "pip install"),
    },
    "no landlock": {
        "kernel": ("landlock and seccomp: ", "5.13 or newer"),
        "kernel-lite": ("no Landlock here (landlock_create_ruleset: Function not implemented)", "6.2 or newer"),
        "monty": ("monty: ", "pip install"),
    },
    "no seccomp": {
        "kernel": ("no seccomp filters here (seccomp: Operation not permitted)", "must allow seccomp(2)"),
        "kernel-lite": ("no seccomp filters here (seccomp: Operation not permitted)", "must allow seccomp(2)"),
        "monty": ("monty: ", "pip install"),
    },
    "landlock disabled=kernel-lite": {"kernel-lite": ("Operation not supported", "lsm= list")},
}
AS_ROOT = {"no capabilities": "kernel-lite", "no chroot": "kernel-lite"} if os.geteuid() == 0 else {}
MORE = AS_ROOT | ({"only monty": "monty"} if find_spec("pydantic_monty") else {})


def found(text: str) -> dict[str, Any]:
    report = json.loads(text)
    assert isinstance(report, dict)
    return report


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    names = [*TAKEN, *MORE, *REFUSED]
    run = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.refusals", *names],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found(run.stdout)


@pytest.mark.parametrize(("name", "tier"), [*TAKEN.items(), *MORE.items()])
def test_the_best_tier_that_works_is_taken(here: dict[str, Any], name: str, tier: str) -> None:
    assert here[name] == {"tier": tier, "ran": [tier, {"x": "42"}, ""]}


def check_refusal(report: dict[str, Any], expected: dict[str, tuple[str, str]]) -> None:
    assert report["tier"] is None
    assert list(report["reasons"]) == list(expected)
    for tier, (problem, advice) in expected.items():
        assert problem in report["reasons"][tier]
        assert advice in report["reasons"][tier]
        assert f"{tier}: {report['reasons'][tier]}" in report["text"]
    assert report["text"].startswith("no sandbox for model-written code works on this machine")


@pytest.mark.parametrize("name", REFUSED)
def test_what_failed_and_what_to_do_is_said(here: dict[str, Any], name: str) -> None:
    check_refusal(here[name], REFUSED[name])


_KILLED_IN_ITS_PROBE = """
import os, signal, sys, trio
from trioagent.sandbox import _probe, open_sandbox

class Deadly:
    tier = "kernel"
    async def execute(self, code, *, root_fd, hide, host_tools, rules):
        os.kill(os.getpid(), signal.SIGKILL)

async def start(tier, limits):
    return Deadly()

async def main():
    if sys.argv[1] == "die":
        _probe._start = start
    async with open_sandbox(sys.argv[2]):
        pass

trio.run(main)
"""


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite", *(["monty"] if find_spec("pydantic_monty") else [])])
def test_what_a_probe_left_when_it_was_killed_is_removed_at_the_next_start(tier: str, tmp_path: Path) -> None:
    def start(how: str) -> int:
        command = [sys.executable, "-c", _KILLED_IN_ITS_PROBE, how, tier]
        return subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False).returncode

    assert start("die") == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert sorted(path.name for path in left.iterdir()) == ["folder", "gone.md", "kept.md"]
    assert start("live") == 0
    assert list(tmp_path.iterdir()) == []


def test_as_plain_user(plain_user: PlainUser) -> None:
    """All at once, since copying the interpreter for that user takes longer than the rest."""
    run = plain_user.run("tests.sandbox.refusals", *TAKEN, "nothing works")
    assert run.returncode == 0, run.stderr
    report = found(run.stdout)
    taken = {name: report[name]["tier"] for name in TAKEN}
    assert taken == TAKEN
    assert all(report[name]["ran"][1:] == [{"x": "42"}, ""] for name in TAKEN)
    check_refusal(report["nothing works"], REFUSED["nothing works"])
