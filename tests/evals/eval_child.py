"""Runs an evaluation in a process of its own, which may kill itself at one of its journal writes.

Usage: eval_child.py BASE_URL RUN_DIR WRITE before|after
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.batch.batch_child import die_at
from trioagent import BatchConfig, ModelConfig, open_runtime
from trioagent.evals import Contains, Grader, NotesSay, Sample, SetUp, run_eval

TOLD = SetUp(id="told", notes={"user.md": "# Ada\n"}, messages=("Fact: I live in Porto.", "Fact: I have a cat."))
GIVEN = SetUp(id="given/notes", notes={"log.md": "I play chess.\n"})


def samples() -> list[Sample]:
    """Questions that change nothing, and one that changes the notes, over two set-ups."""
    asked: list[tuple[str, str, SetUp, str, Grader]] = [
        ("told/0", "asked", TOLD, "What do you know?", Contains("Porto")),
        ("told/1", "asked", TOLD, "What do you know of me?", Contains("London")),
        ("told/2", "changed", TOLD, "Fact: I have a dog.", NotesSay(("dog", "cat"))),
        ("given/0", "asked", GIVEN, "What do you know?", Contains("chess")),
        ("given/1", "changed", GIVEN, "Fact: I play go.", NotesSay(("go",), ("Porto",))),
    ]
    return [
        Sample(id=key, category=category, set_up=set_up, messages=(message,), expected="", grader=grader)
        for key, category, set_up, message, grader in asked
    ]


async def main(base_url: str, run_dir: Path) -> None:
    async with open_runtime(ModelConfig(base_url=base_url, model="test")) as runtime:
        judge = runtime.model if run_dir.name == "judged" else None
        config = BatchConfig(max_concurrent=2, outage_patience=0)
        await run_eval(samples(), suite="own", runtime=runtime, run_dir=run_dir, config=config, judge=judge)


if __name__ == "__main__":
    url, where, write, when = sys.argv[1:]
    if int(write):
        die_at(int(write), when)
    trio.run(main, url, Path(where))
