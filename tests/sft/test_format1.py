"""Runs of training conversations of trioagent 0.1 are resumed: see `tests/fixtures/format1/make.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.format1 import script
from trioagent._config import SftConfig
from trioagent.batch import CONVERSATIONS, read_rows
from trioagent.runtime import open_runtime
from trioagent.sft import REJECTED, ScriptedPersona, generate_conversations

pytestmark = pytest.mark.real


def rows(run_dir: Path) -> dict[str, Any]:
    """All rows by job, without the version, the names of the classes that spoke, and what 0.1 did not say."""
    return {
        row["id"]: {
            **{name: value for name, value in row.items() if name not in ("trioagent", "models", "profile")},
            "hashes": {name: value for name, value in row["hashes"].items() if name != "prompt"},
        }
        for file in (CONVERSATIONS, REJECTED)
        for row in read_rows(run_dir / file)
    }


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        ("finished", []),
        ("killed-in-attempt", ["Jon Reyes"]),
        ("killed-after-rejection", ["Silent Bob", "Jon Reyes"]),  # his second attempt only
    ],
)
async def test_resumed(name: str, begun: list[str], tmp_path: Path) -> None:
    script.unpack("sft-finished", tmp_path / "finished")
    script.unpack(f"sft-{name}", tmp_path)
    run_dir, talked = tmp_path / script.SFT_DIR, []

    class Logged(ScriptedPersona):
        name = ""

        async def achat(self, message: str | None = None) -> str:
            if message is None:
                talked.append(self.name)
            said = await super().achat(message)
            return said if self.name != script.SILENT else "Hello!" if message is None else ""

    def make(persona: Mapping[str, Any], facts: object) -> Logged:
        made = Logged(persona, facts, num_turns=2)
        made.name = persona["name_surname"]
        return made

    async with open_runtime("offline-rules") as runtime:
        report = await generate_conversations(
            [script.persona(name) for name in script.PERSONAS],
            [script.FACTS] * len(script.PERSONAS),
            make,
            runtime=runtime,
            run_dir=run_dir,
            config=SftConfig(num_turns=2, max_retries=1, max_concurrent=1),
        )
    assert talked == begun
    assert report.results == [True, False, True]
    assert rows(run_dir) == rows(tmp_path / "finished" / script.SFT_DIR)
    assert not (run_dir / "memories").exists()
