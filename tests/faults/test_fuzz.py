"""Ten thousand odd inputs and more, the same ones each time; ``python -m benchmarks.fuzz`` tries others for longer."""

from __future__ import annotations

import time

import pytest

from .fuzz_targets import TARGETS
from .fuzzing import Finding, Target, run

CASES = 1500


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_only_typed_errors(target: Target) -> None:
    began = time.perf_counter()
    assert run(target, seed=20_26, cases=CASES) == CASES
    print(f"{target.name}: {CASES / (time.perf_counter() - began) * 60:,.0f} cases a minute")


def test_enough_of_them() -> None:
    assert len(TARGETS) * CASES >= 10_000


def test_a_finding_says_how_to_have_it_again() -> None:
    def judge(data: bytes, chance: object) -> None:
        assert data != b"", "empty"

    with pytest.raises(Finding, match=r"target t, seed 1, case \d+: b'' ") as caught:
        run(Target("t", [b"abc"], judge), seed=1, cases=10_000)
    assert isinstance(caught.value.__cause__, AssertionError)
    number = caught.value.args[2]
    assert run(Target("t", [b"abc"], judge), seed=1, cases=number) == number
