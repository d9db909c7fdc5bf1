"""`AgentStage` in a real pipeline of Ray Data: actors, blocks, Parquet."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..sft.people import persona_body

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster" / "ray_data_stage.py"
PERSONA = persona_body(relationships=[])

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_the_example_writes_parquet(ray: Any, tmp_path: Path) -> None:
    import pyarrow.dataset as ds

    main = runpy.run_path(str(EXAMPLE))["main"]
    main(tmp_path / "conversations", people=30, actors=2)
    rows = ds.dataset(tmp_path / "conversations", format="parquet").to_table().to_pylist()
    assert sorted(row["id"] for row in rows) == sorted(f"user-{number}" for number in range(30))
    for row in rows:
        assert row["error"] == ""
        assert row["id"].title() in row["replies"][1] or row["replies"][1]
        assert [said["role"] for said in row["conversation"]][:2] == ["system", "user"]
        assert any(note["path"] == "user.md" for note in row["notes_after"])


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_every_format_of_batches(ray: Any, batch_format: str, tmp_path: Path) -> None:
    from trioagent.cluster import AgentStage

    data = ray.data.from_items([{"messages": ["My name is Ada."] if n % 2 else [""], "n": n} for n in range(6)])
    found = data.map_batches(
        AgentStage,
        fn_constructor_kwargs={"model": "offline-rules"},
        batch_format=batch_format,
        batch_size=1,
        concurrency=1,
    )
    found.write_parquet(str(tmp_path / "out"))
    rows = sorted(ray.data.read_parquet(str(tmp_path / "out")).take_all(), key=lambda row: row["n"])
    assert [bool(row["error"]) for row in rows] == [True, False] * 3
    assert [len(row["replies"]) for row in rows] == [0, 1] * 3


def test_training_conversations(ray: Any) -> None:
    from trioagent._config import SftConfig
    from trioagent.cluster import AgentStage

    data = ray.data.from_items(
        [
            {"persona": PERSONA, "facts": [{"fact_description": f"I live in {city}."}]}
            for city in ("Porto", "Rome", "Oslo", "Bern")
        ]
    )
    found = data.map_batches(
        AgentStage,
        fn_constructor_kwargs={"model": "offline-rules", "rows": "sft", "config": SftConfig(num_turns=2)},
        batch_format="pyarrow",
        batch_size=2,
        concurrency=1,
    )
    assert [row["accepted"] for row in found.take_all()] == [True] * 4
