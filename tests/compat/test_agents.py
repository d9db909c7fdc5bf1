"""What the documentation says of `Agent` and `AsyncAgent`, on the embedded default and on scripted answers.

Also a program: ``python tests/compat/test_agents.py``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

import trioagent
from trioagent import InvalidInputError, ModelStatusError, StructuredOutputError
from trioagent.compat.agent import Agent
from trioagent.compat.async_agent import AsyncAgent, run_agents_concurrently
from trioagent.compat.async_agent.async_model import get_model_response
from trioagent.compat.schemas import AgentResponse, Role
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

NOTE = "<think>note</think>\n<python>\ndone = create_file('user.md', 'kept')\n</python>"
FAIL = "<think>try</think>\n<python>\ncreate_file('other.md', 'lost')\n1 / 0\n</python>"
REPLY = "<think>greet</think>\n<python></python>\n<reply>Hello.</reply>"


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved_conversation(folder: Path) -> list[dict[str, str]]:
    (path,) = (folder / "output" / "conversations").glob("convo_*.json")
    messages: list[dict[str, str]] = json.loads(path.read_text())
    return messages


class Meeting:
    """Where as many requests as are expected wait for each other."""

    def __init__(self, expected: int) -> None:
        self.missing, self.complete = expected, trio.Event()

    async def arrive(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.complete.set()
        await self.complete.wait()


class Waits:
    """A model that answers its first request when all others have come, the earlier agents last."""

    name = "waits"

    def __init__(self, meeting: Meeting, number: int) -> None:
        self._meeting, self._number = meeting, number
        self._script = ScriptedModel(
            [NOTE.replace("kept", f"note {number}"), REPLY.replace("Hello", f"Hello {number}")],
            delay=0.05 - 0.01 * number,
        )

    @asynccontextmanager
    async def answer(self, messages: Sequence[trioagent.ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        if not self._script.calls:
            await self._meeting.arrive()
        async with self._script.answer(messages) as parts:
            yield parts


class TestAgent:
    def test_what_it_is_told_it_knows_in_the_next_conversation(self, tmp_path: Path) -> None:
        first = Agent(memory_path="my_memory").chat("My name is Ada and I live in Berlin.")
        assert isinstance(first, AgentResponse)
        assert first.python_block
        assert first.thoughts
        assert "Berlin" in (tmp_path / "memory" / "my_memory" / "user.md").read_text()
        assert "Berlin" in Agent(memory_path="my_memory").chat("Where do I live?").reply

    def test_its_conversation_is_saved_as_json(self, tmp_path: Path) -> None:
        agent = Agent(memory_path="my_memory", model=ScriptedModel([NOTE, REPLY]))
        agent.chat("Hi")
        agent.save_conversation(log=True)
        saved = saved_conversation(tmp_path)
        assert [message["role"] for message in saved] == ["system", "user", "assistant", "tool", "assistant"]
        assert [message["content"] for message in saved] == [message.content for message in agent.messages]
        assert [message.role for message in agent.messages] == ["system", "user", "assistant", "user", "assistant"]

    def test_its_defaults_are_the_documented_ones_and_making_it_makes_its_folder(self, tmp_path: Path) -> None:
        agent = Agent()
        assert agent.max_tool_turns == 4
        assert Path(agent.memory_path) == tmp_path / "memory" / "memory_dir"
        assert [message.role for message in agent.messages] == [Role.SYSTEM]
        assert list(tmp_path.rglob("*")) == [tmp_path / "memory", tmp_path / "memory" / "memory_dir"]

    def test_a_block_that_fails_saves_nothing_and_the_model_is_told(self, tmp_path: Path) -> None:
        model = ScriptedModel([FAIL, REPLY])
        response = Agent(memory_path="my_memory", model=model).chat("Hi")
        assert (response.reply, response.blocks_saved) == ("Hello.", 0)
        assert "ZeroDivisionError" in model.calls[1][-1].content
        assert not list(tmp_path.rglob("*.md"))

    def test_it_stops_after_max_tool_turns(self) -> None:
        response = Agent(max_tool_turns=2, memory_path="my_memory", model=ScriptedModel(lambda messages: NOTE)).chat(
            "Hi"
        )
        assert (response.reply, response.stop_reason, response.turns) == ("", "max_tool_turns", 3)

    def test_after_an_error_it_goes_on(self) -> None:
        agent = Agent(memory_path="my_memory", model=ScriptedModel([ModelStatusError(500), REPLY]))
        with pytest.raises(InvalidInputError):
            agent.chat(" ")
        with pytest.raises(ModelStatusError):
            agent.chat("Hi")
        assert agent.chat("Hi").reply == "Hello."
        assert [message.role for message in agent.messages] == ["system", "user", "assistant"]


class TestAsyncAgent:
    def test_what_it_is_told_it_knows_in_the_next_conversation(self, tmp_path: Path) -> None:
        async def main() -> None:
            await AsyncAgent(memory_path="my_async_memory").chat("My name is Grace and I live in Boston.")
            response = await AsyncAgent(memory_path="my_async_memory").chat("Where do I live?")
            assert "Boston" in response.reply

        asyncio.run(main())
        assert (tmp_path / "memory" / "my_async_memory" / "user.md").is_file()

    def test_its_conversation_is_saved_as_json(self, tmp_path: Path) -> None:
        async def main() -> AsyncAgent:
            agent = AsyncAgent(memory_path="my_async_memory", model=ScriptedModel([REPLY]))
            await agent.chat("Hi")
            await agent.save_conversation(log=True)
            return agent

        agent = asyncio.run(main())
        saved = saved_conversation(tmp_path)
        assert [message["content"] for message in saved] == [message.content for message in agent.messages]

    def test_many_run_at_once_each_on_its_own_memory_and_replies_keep_their_order(self, tmp_path: Path) -> None:
        numbers = range(5)

        meeting = Meeting(len(numbers))
        agents = [AsyncAgent(memory_path=f"agent_{number}", model=Waits(meeting, number)) for number in numbers]

        async def main() -> list[AgentResponse]:
            async with asyncio.timeout(20):  # one after the other, the first would wait for ever
                return await run_agents_concurrently(agents, [f"topic {number}" for number in numbers])

        responses = asyncio.run(main())
        assert [response.reply for response in responses] == [f"Hello {number}." for number in numbers]
        for number in numbers:
            assert (tmp_path / "memory" / f"agent_{number}" / "user.md").read_text() == f"note {number}"

    def test_lists_of_different_lengths_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1 agents need as many messages, not 2"):
            asyncio.run(run_agents_concurrently([AsyncAgent()], ["a", "b"]))

    def test_the_first_failure_cancels_the_others_and_comes_out(self) -> None:
        failing = AsyncAgent(memory_path="a", model=ScriptedModel([ModelStatusError(500, "broken")]))
        endless = AsyncAgent(memory_path="b", model=ScriptedModel([REPLY], delay=3600))
        with pytest.raises(ModelStatusError, match="broken"):
            asyncio.run(run_agents_concurrently([failing, endless], ["Hi", "Hi"]))
        assert [message.role for message in endless.messages] == ["system"]

    def test_a_sync_agent_runs_beside_it_in_an_executor(self) -> None:
        async def main() -> tuple[AgentResponse, AgentResponse]:
            sync_agent = Agent(memory_path="sync_memory", model=ScriptedModel([NOTE, REPLY]))
            loop = asyncio.get_running_loop()
            sync_task = loop.run_in_executor(None, sync_agent.chat, "Sync task")
            response = await AsyncAgent(memory_path="async_memory", model=ScriptedModel([REPLY])).chat("Async task")
            return await sync_task, response

        assert [response.reply for response in asyncio.run(main())] == ["Hello.", "Hello."]

    def test_a_chat_that_is_cancelled_is_taken_back(self, tmp_path: Path) -> None:
        agent = AsyncAgent(memory_path="my_async_memory", model=ScriptedModel([NOTE], delay=3600))

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await agent.chat("Hi")

        asyncio.run(main())
        assert [message.role for message in agent.messages] == ["system"]
        assert not list(tmp_path.rglob("*.md"))

    def test_a_model_can_be_asked_without_an_agent(self) -> None:
        reply = asyncio.run(get_model_response(message="My name is Ada.", system_prompt="Be brief."))
        assert "<python>" in reply  # offline-rules knows one protocol only

    def test_an_answer_that_never_fits_its_schema_is_a_typed_error(self) -> None:
        city = attrs.make_class("City", {"name": attrs.field(type=str)})
        with pytest.raises(StructuredOutputError, match="3 attempts"):
            asyncio.run(get_model_response(message="Which is the largest city?", schema=city))


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", *sys.argv[1:]]))
