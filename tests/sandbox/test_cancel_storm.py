"""The benchmark's storm of cancels, a small one: nothing may be left. How long it takes is not judged here."""

from __future__ import annotations

import pytest

from benchmarks.cancel_storm import TIERS, storm

pytestmark = pytest.mark.real


@pytest.mark.parametrize("tier", TIERS)
async def test_cancels_leave_nothing(tier: str) -> None:
    result = await storm(tier, 50)
    assert len(result.seconds) + result.finished == 48  # four at a time
    assert result.seconds
    assert set(result.left.values()) == {0}, result.left
