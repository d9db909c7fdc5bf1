"""What time it is for a block: the user's own, and nothing else of the environment."""

from __future__ import annotations

import pytest

from trioagent.sandbox import open_sandbox

pytestmark = pytest.mark.real

LOOK = """
import os, time
from datetime import datetime
environment = dict(os.environ)
zone, hours = time.strftime("%Z"), datetime.now().astimezone().utcoffset().total_seconds() / 3600
"""


@pytest.mark.parametrize("tier", ["kernel", "kernel-lite", "monty"])
async def test_the_users_time_zone(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SECRET", "x")
    async with open_sandbox(tier=tier) as sandbox:
        result = await sandbox.run(LOOK)
    assert (result.error, result.locals["environment"]) == ("", "{}")
    assert (result.locals["zone"], result.locals["hours"]) == ("'JST'", "9.0")
