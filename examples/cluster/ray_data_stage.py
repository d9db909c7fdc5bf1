"""Conversations as a stage of a Ray Data pipeline, written to Parquet.

Needs the extra ``ray``. Run ``python examples/cluster/ray_data_stage.py conversations``; ``offline-rules`` needs no
server. With ``RAY_ADDRESS`` set it runs on that cluster, else on this machine.
"""

import sys
from pathlib import Path

import ray

from trioagent.cluster import AgentStage


def main(out: str | Path, *, model: str = "offline-rules", people: int = 100, actors: int = 2) -> None:
    """Let *people* introduce themselves, each to an agent with notes of its own, and write what was said to *out*."""
    rows = [
        {
            "id": f"user-{number}",
            "messages": [f"My name is Person{number} and I live in Lisbon.", "Where do I live?"],
            "notes": [{"path": "user.md", "text": "# User\n"}],
        }
        for number in range(people)
    ]
    conversations = ray.data.from_items(rows).map_batches(
        AgentStage,
        fn_constructor_kwargs={"model": model},
        batch_format="pyarrow",  # which keeps the types of columns, also where a column of a block is empty
        batch_size=25,  # conversations at once, in each actor
        concurrency=actors,
    )
    conversations.write_parquet(str(out))


if __name__ == "__main__":
    main(sys.argv[1])
