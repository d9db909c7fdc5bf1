"""The program that plays a task: reads ``task.json``, leaves ``result.json``. It needs trioagent alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trioagent import Agent, ModelConfig, RetryPolicy, open_runtime
from trioagent.evals import copy_notes, read_notes, write_notes


async def play(task: dict[str, Any], model: ModelConfig) -> dict[str, Any]:
    """Tell the agent what it has to know, then say the task's messages to another one over a copy of the notes."""
    start, memory = Path("start"), Path("memory")
    write_notes(start, task["notes"])
    async with open_runtime(model) as runtime:
        new_agent = partial(Agent, runtime, system_prompt=task["system_prompt"], max_tool_turns=task["max_tool_turns"])
        if task["told"]:
            first = new_agent(memory_path=start)
            for message in task["told"]:
                await first.chat(message)
        copy_notes(start, memory)
        agent = new_agent(memory_path=memory)
        responses = [await agent.chat(message) for message in task["messages"]]
    repairs: Counter[str] = Counter()
    for response in responses:
        repairs.update(response.repairs)
    return {
        "replies": [response.reply for response in responses],
        "stop_reasons": [response.stop_reason for response in responses],
        "turns": sum(response.turns for response in responses),
        "blocks_saved": sum(response.blocks_saved for response in responses),
        "repairs": dict(repairs),
        "notes_before": dict(read_notes(start)),
        "notes_after": dict(read_notes(memory)),
    }


def main() -> None:
    """Play the task in the current folder."""
    # In one piece: an answer that is left early is none in the trace. Once: what failed, verifiers tries again.
    model = ModelConfig(
        base_url=os.environ["TRIOAGENT_BASE_URL"],
        model=os.environ["TRIOAGENT_MODEL"],
        api_key=os.environ["TRIOAGENT_API_KEY"],
        stream=False,
        retry=RetryPolicy(attempts=1),
    )
    task = json.loads(Path("task.json").read_text())
    Path("result.json").write_text(json.dumps(trio.run(play, task, model)))


if __name__ == "__main__":
    main()
