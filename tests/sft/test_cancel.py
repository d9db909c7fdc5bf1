"""Cancelled anywhere: no memory is left, nothing that ended is lost, and the same call resumes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent import SandboxLimits, open_runtime
from trioagent.batch import read_rows
from trioagent.sft import ScriptedPersona, SftConfig, generate_conversations
from trioagent.testing import ScriptedModel, cancel_at_every_checkpoint

from .people import LIVES, persona

pytestmark = pytest.mark.real

REPLY = "<think>ok</think>\n<python></python>\n<reply>Noted: Porto.</reply>"
NOTE = "<think>ok</think>\n<python>\ncreate_file('user.md', 'Porto')\n</python>"
ENDLESS = "<think>ok</think>\n<python>\ncreate_file('user.md', 'Porto')\nwhile True:\n    pass\n</python>"


def rows(where: Path) -> list[Any]:
    return list(read_rows(where / "conversations.jsonl"))


async def test_at_every_checkpoint(tmp_path: Path) -> None:
    """Of a run from its journal's opening to its report, with an update of notes that are set up before."""
    runs = (tmp_path / str(number) for number in itertools.count())
    where = tmp_path
    model = ScriptedModel(lambda messages: REPLY)
    async with open_runtime(model, sandbox_limits=SandboxLimits(parallel=1)) as runtime:

        async def body() -> None:
            nonlocal where
            where = next(runs)
            report = await generate_conversations(
                [persona()],
                [[LIVES]],
                lambda persona, facts: ScriptedPersona(persona, facts, flow="retrieve"),
                runtime=runtime,
                run_dir=where,
                config=SftConfig(flow="retrieve", num_turns=1, max_retries=0),
            )
            assert report.results == [True]

        async def after_each() -> None:
            assert not (where / "memories").exists()
            assert not (where / "conversations.jsonl").exists() or len(rows(where)) <= 1

        cancelled = await cancel_at_every_checkpoint(body, after_each=after_each)
    assert cancelled > 20
    assert len(rows(where)) == 1


async def test_in_the_middle_of_a_block(tmp_path: Path) -> None:
    """Two conversations, one of which has ended; the other one's block runs."""
    ended = trio.Event()

    def answer(messages: Any) -> str:
        if messages[-1].role == "tool":
            ended.set()
            return REPLY
        return ENDLESS if "Jon" in messages[1].content else NOTE

    async def run(model: ScriptedModel) -> list[bool]:
        async with open_runtime(model) as runtime:
            report = await generate_conversations(
                [persona(), persona("Jon Reyes")],
                [["I live in Porto."]] * 2,
                lambda persona, facts: ScriptedPersona(persona, facts, num_turns=1),
                runtime=runtime,
                run_dir=tmp_path,
                config=SftConfig(num_turns=1),
            )
            return report.results

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, ScriptedModel(answer))
            await ended.wait()
            while not (tmp_path / "conversations.jsonl").read_bytes():
                await trio.sleep(0.005)
            assert len(list((tmp_path / "memories").iterdir())) == 1
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 10
    assert not (tmp_path / "memories").exists()
    assert [row["id"] for row in rows(tmp_path)] == ["persona-0"]
    model = ScriptedModel([NOTE, REPLY])
    assert await run(model) == [True, True]
    assert [row["id"] for row in rows(tmp_path)] == ["persona-0", "persona-1"]
    assert len(model.calls) == 2
