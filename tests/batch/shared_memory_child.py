"""Runs 25 agents that all write to one memory; see test_one_memory.py.

Usage: shared_memory_child.py NAME MEMORY RUN_DIR
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence

import trio

from trioagent._config import BatchConfig
from trioagent._messages import ChatMessage
from trioagent.batch import Job, run_batch
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

MERGERS, OVERWRITERS = 18, 7
END = "<end>"


def answer(messages: Sequence[ChatMessage]) -> str:
    """Add one line to log.md: in one block, or with what an earlier block has read."""
    line = next(message.content for message in messages if message.role == "user")
    how, _, name = line.partition(" ")
    last = messages[-1]
    if last.role == "user":
        if how == "merge":
            return _code(f"done = update_file('log.md', {END!r}, {name + chr(10) + END!r})")
        return _code("text = read_file('log.md')")
    values, error = ast.literal_eval(last.content.removeprefix("<result>\n").removesuffix("\n</result>"))
    if error:
        assert "read it again" in error, error
        return _code("text = read_file('log.md')")
    if "done" in values:
        assert values["done"] is True, values
        return "<think>t</think><python></python><reply>Added.</reply>"
    return _code(f"done = create_file('log.md', {values['text'].replace(END, name + chr(10) + END)!r})")


def _code(code: str) -> str:
    return f"<think>t</think>\n<python>\n{code}\n</python>"


async def main(name: str, memory: str, run_dir: str) -> None:
    hows = ["merge"] * MERGERS + ["overwrite"] * OVERWRITERS
    jobs = [
        Job(id=f"{name}-{number}", memory=memory, messages=(f"{how} {name}-{number}",))
        for number, how in enumerate(hows)
    ]
    config = BatchConfig(max_concurrent=len(jobs), max_tool_turns=500)
    async with open_runtime(ScriptedModel(answer, delay=0.01)) as runtime:
        report = await run_batch(jobs, runtime=runtime, run_dir=run_dir, config=config)
    assert report.done == len(jobs), report


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
