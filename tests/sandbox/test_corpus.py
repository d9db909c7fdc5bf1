"""Every attack is contained in every tier: as the user who runs the tests, and, if root, as a plain user too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from trioagent.sandbox import BlockResult

from .arena import LIMITS, Arena
from .background import Background
from .corpus import CASES, Case
from .plain_user import NOBODY, PlainUser
from .tiers import NOT_CONTAINED, TIERS, not_contained

pytestmark = pytest.mark.real
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module", params=TIERS)
def tier(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def arena(tier: str) -> Iterator[Arena]:
    with pytest.MonkeyPatch.context() as patch, Background(LIMITS, tier) as background:
        arena = Arena(background.run, delay=background.delay)
        patch.setenv("SBX_SECRET", arena.tokens["environment"])
        with arena.open():
            yield arena


@by_name
def test_contained(tier: str, arena: Arena, case: Case) -> None:
    signs = arena.attack(case)
    assert bool(signs) == (case.name in not_contained(tier)), signs


@pytest.fixture(scope="module")
def as_plain_user(plain_user: PlainUser) -> dict[str, dict[str, list[str]]]:
    """By tier and case, the signs of escape. The tiers are tried at the same time: most of it is waiting."""
    with ThreadPoolExecutor() as threads:
        runs = dict(zip(TIERS, threads.map(partial(plain_user.run, "tests.sandbox.arena"), TIERS), strict=True))
    reports = {}
    for tier, run in runs.items():
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout)
        assert report["uid"] == NOBODY
        reports[tier] = report["signs"]
    return reports


@by_name
def test_contained_as_plain_user(tier: str, as_plain_user: dict[str, dict[str, list[str]]], case: Case) -> None:
    assert bool(as_plain_user[tier][case.name]) == (case.name in NOT_CONTAINED[tier]), as_plain_user[tier][case.name]


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 150


# Attacks that hurt nobody, to see that the arena sees what it is there to see.
_HARMLESS = (
    "read_passwd env_secret write_abs write_append list_parent plant_fifo symlink_read udp_send fork_once "
    "swallow_interrupts native_crash"
).split()


def test_arena_notices_escapes() -> None:
    """The same attacks, with no sandbox at all, are all noticed."""
    arena = Arena(_run_without_sandbox)
    with pytest.MonkeyPatch.context() as patch, arena.open():
        patch.setenv("SBX_SECRET", arena.tokens["environment"])
        noticed = {case.name for case in CASES if case.name in _HARMLESS and arena.attack(case)}
    assert noticed == set(_HARMLESS)


_RUNNER = """
import json, sys
source, names = sys.stdin.read(), {}
names["read_file"] = lambda path: open(path).read()
error = ""
try:
    exec(compile(source, "<block>", "exec"), names)
except BaseException as problem:
    error = repr(problem)
values = {k: repr(v)[:2000] for k, v in names.items() if not k.startswith("__") and k != "read_file"}
print(json.dumps({"locals": values, "error": error}), file=sys.__stdout__)
"""


def _run_without_sandbox(code: str, folder: Path) -> BlockResult:
    try:
        run = subprocess.run(
            [sys.executable, "-c", _RUNNER],
            input=code,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=3,
            check=True,
        )
    except subprocess.SubprocessError as error:
        return BlockResult(
            locals={"escaped": "'it took the interpreter down'"}, error=str(error), printed="", saved=False, tier=""
        )
    return BlockResult(**json.loads(run.stdout), printed="", saved=False, tier="none")
