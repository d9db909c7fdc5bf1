"""The rules in a whole agent: real sandbox, real transactions."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent.agent import Agent
from trioagent.runtime import open_runtime


@pytest.mark.real
async def test_a_whole_agent_remembers_answers_corrects_and_forgets(tmp_path: Path) -> None:
    async with open_runtime(model="offline-rules") as runtime:
        agent = Agent(runtime, memory_path=tmp_path / "ada")
        first = await agent.chat("My name is Ada and I live in London.")
        assert first.blocks_saved == 1
        assert "not a language model" in first.reply
        await agent.chat("My sister Grace works at Acme Corp in Berlin.")
        await agent.chat("I am allergic to peanuts.")

        answer = await agent.chat("Where does my sister work?")
        where = '(entities/grace.md, line 9: "- **Works At**: [[entities/acme_corp]]")'
        assert answer.reply == f"Grace works at Acme Corp. {where}"
        assert (answer.blocks_saved, answer.turns, answer.repairs) == (0, 2, {})

        await agent.chat("I moved to Rome.")
        assert "- **Lives In**: Rome" in (tmp_path / "ada/user.md").read_text()
        await agent.chat("Forget everything about Grace.")
        assert "I do not know" in (await agent.chat("Where does my sister work?")).reply
        assert not (tmp_path / "ada/entities/grace.md").exists()


@pytest.mark.real
async def test_a_new_conversation_knows_what_an_older_one_noted(tmp_path: Path) -> None:
    async with open_runtime(model="offline-rules") as runtime:
        await Agent(runtime, memory_path=tmp_path).chat("My neighbour Bob is 45.")
        reply = (await Agent(runtime, memory_path=tmp_path).chat("How old is my neighbour?")).reply
        assert "45" in reply
        assert "entities/bob.md" in reply
