"""Agents over the bridge, with a real sandbox: what a cancel leaves, many at once, conversations that continue."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent import AgentBusyError, AgentsFailedError, ChatMessage, InvalidInputError, Model, ModelStatusError
from trioagent.compat import Agent, AsyncAgent, execute_sandboxed_code, run_agents_concurrently, shutdown
from trioagent.compat.schemas import Role
from trioagent.testing import Fault, ModelRequest, Say, ScriptedModel, Wire

from .support import (
    HELLO,
    NOTED,
    STUCK,
    agent_with,
    alive,
    children,
    descendants,
    loopback,
    model_server,
    running_blocks,
    until,
)

pytestmark = pytest.mark.real


def sync_agent(folder: Path, *answers: str) -> Agent:
    return Agent(memory_path=folder, model=ScriptedModel(answers), predetermined_memory_path=True)


class BreaksWhenCancelled:
    """A model that thinks forever, and fails while it is stopped."""

    name = "breaks"

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[Any]:
        try:
            await trio.Event().wait()
        except trio.Cancelled:
            raise ModelStatusError(500) from None
        yield


class Held:
    """A model that says when it is asked, in the Trio thread, and answers once it is told to, from another."""

    name = "held"

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[Any]:
        self.asked.set()
        await trio.to_thread.run_sync(self.go.wait, 20)
        async with ScriptedModel([HELLO]).answer(messages) as parts:
            yield parts


async def a_block_runs() -> set[int]:
    """Wait for a block; its child."""
    while not (running := running_blocks()):
        await asyncio.sleep(0.002)
    return running


def notes(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_chat_of_each_kind(tmp_path: Path) -> None:
    sync = sync_agent(tmp_path / "sync", NOTED, HELLO)
    response = sync.chat("Hi")
    assert (response.reply, response.thoughts, response.python_block) == (
        "Hello.",
        "greet",
        "create_file('user.md', '# Ada')",
    )
    assert notes(tmp_path / "sync") == {"user.md": "# Ada"}
    assert [message.role for message in sync.messages] == ["system", "user", "assistant", "user", "assistant"]
    agent = agent_with(tmp_path / "async", NOTED, HELLO)
    assert asyncio.run(agent.chat("Hi")).reply == "Hello."
    assert notes(tmp_path / "async") == {"user.md": "# Ada"}


def test_cancelled_in_a_block(tmp_path: Path) -> None:
    """When control is back the child is dead, no note has changed, and the agent can continue."""
    folder = tmp_path / "memory"

    async def main() -> None:
        agent = agent_with(folder, NOTED, HELLO, STUCK, HELLO)
        await agent.chat("Hi")
        messages = len(agent.messages)
        task = asyncio.create_task(agent.chat("Go"))
        child = await a_block_runs()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(child)
        assert notes(folder) == {"user.md": "# Ada"}
        assert [message.role for message in agent.messages[messages:]] == ["user", "assistant", "user"]
        assert (await agent.chat("Again")).reply == "Hello."

    asyncio.run(main())


def test_cancelled_while_the_model_thinks(tmp_path: Path) -> None:
    with model_server(lambda request: Say(HELLO, delay=60)) as server:

        async def main() -> None:
            agent = AsyncAgent(memory_path=tmp_path, model=loopback(server), predetermined_memory_path=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    task = asyncio.create_task(agent.chat("Hi"))
                    while not server.requests:
                        await asyncio.sleep(0.002)
                    assert server.open_connections == 1
                    task.get_loop().call_soon(task.cancel)
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    raise TimeoutError
            assert [message.role for message in agent.messages] == ["system"]  # nothing was answered
            while server.open_connections:
                await asyncio.sleep(0.002)

        asyncio.run(main())


def test_ten_take_as_long_as_one(tmp_path: Path) -> None:
    """All are with the model at once: it answers nobody before the last has asked."""
    count = 10

    async def answer(request: ModelRequest) -> str:
        with trio.fail_after(20):
            while server.served < count:
                await trio.sleep(0.001)
        return f"<think>t</think>\n<python></python>\n<reply>{request.messages[-1]['content']}</reply>"

    with model_server(answer) as server:
        agents = [
            AsyncAgent(memory_path=tmp_path / str(n), model=loopback(server), predetermined_memory_path=True)
            for n in range(count)
        ]
        responses = asyncio.run(run_agents_concurrently(agents, [f"number {n}" for n in range(count)]))
    assert [response.reply for response in responses] == [f"number {n}" for n in range(count)]


def test_threads_loops_and_models_share_one_sandbox_and_one_connection(tmp_path: Path) -> None:
    """Chats one after the other: sync, in two event loops, in a thread, and with other models in between."""
    shutdown()
    before = children(os.getpid())
    places = itertools.count()

    def make(kind: type[Any], model: Any) -> Any:
        return kind(memory_path=tmp_path / str(next(places)), model=model, predetermined_memory_path=True)

    with model_server(lambda request: HELLO if "<result>" in request.messages[-1]["content"] else NOTED) as server:
        settings, seen = loopback(server), []
        make(Agent, settings).chat("Hi")
        sandbox = children(os.getpid()) - before
        assert len(sandbox) == 1
        for _ in range(2):
            asyncio.run(make(AsyncAgent, settings).chat("Hi"))
            seen.append((children(os.getpid()) - before, server.connections_made))
            make(Agent, ScriptedModel([NOTED, HELLO])).chat("Hi")
            make(Agent, "offline-rules").chat("I live in Rome.")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(make(Agent, settings).chat, "Hi").result()
        seen.append((children(os.getpid()) - before, server.connections_made))
        assert seen == [(sandbox, 1)] * 3
        assert server.served == 8


def test_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="as many messages") as caught:
        asyncio.run(run_agents_concurrently([], ["Hi"]))
    assert isinstance(caught.value, InvalidInputError)
    assert asyncio.run(run_agents_concurrently([], [])) == []


def test_generators_of_agents_and_messages(tmp_path: Path) -> None:
    agents = (agent_with(tmp_path / name, HELLO) for name in "ab")
    responses = asyncio.run(run_agents_concurrently(agents, (f"I am {name}" for name in "ab")))
    assert [response.reply for response in responses] == ["Hello.", "Hello."]


@pytest.mark.parametrize(
    ("second", "messages", "words"),
    [
        (None, "ab", "messages: must be a list of texts, not the text 'ab'"),
        (None, ["a", 3], r"messages\[1\]: must be text, not 3"),
        ("b", ["a", "b"], r"agents\[1\]: must be an AsyncAgent, not 'b'"),
    ],
)
def test_what_no_agent_can_be_told(tmp_path: Path, second: Any, messages: Any, words: str) -> None:
    first = agent_with(tmp_path, HELLO)
    with pytest.raises(InvalidInputError, match=words):
        asyncio.run(run_agents_concurrently([first, second or agent_with(tmp_path, HELLO)], messages))
    assert len(first.messages) == 1  # nothing was said to it


@pytest.mark.parametrize("messages", [None, (), "Hi"])
def test_messages_that_are_no_list(tmp_path: Path, messages: Any) -> None:
    agent = sync_agent(tmp_path, HELLO)
    agent.messages = messages
    with pytest.raises(InvalidInputError, match="messages: must be a list"):
        agent.chat("Hi")
    agent.messages = []
    assert agent.chat("Hi").reply == "Hello."


def test_one_failure_comes_as_itself_and_stops_the_others(tmp_path: Path) -> None:
    running: set[int] = set()

    async def refuse(request: ModelRequest) -> Wire:
        with trio.fail_after(20):
            while not running:
                await trio.sleep(0.002)
                running.update(running_blocks())
        return Fault.status(400, "no")

    with model_server(refuse) as server:

        async def main() -> None:
            stuck = agent_with(tmp_path / "stuck", STUCK)
            broken = AsyncAgent(memory_path=tmp_path / "b", model=loopback(server), predetermined_memory_path=True)
            with pytest.raises(ModelStatusError, match="400"):
                await run_agents_concurrently([stuck, broken], ["Go", "Hi"])
            assert not alive(running)
            assert notes(tmp_path / "stuck") == {}

        asyncio.run(main())


def test_several_failures_come_as_a_group(tmp_path: Path) -> None:
    models: list[Model] = [BreaksWhenCancelled(), ScriptedModel([ModelStatusError(400)])]
    agents = [AsyncAgent(memory_path=tmp_path, model=model, predetermined_memory_path=True) for model in models]
    with pytest.raises(AgentsFailedError) as caught:
        asyncio.run(run_agents_concurrently(agents, ["Hi"] * 2))
    assert {failure.index for failure in caught.value.failures} == {0, 1}


def test_one_chat_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        model = Held()
        agent = AsyncAgent(memory_path=tmp_path, model=model, predetermined_memory_path=True)
        first = asyncio.create_task(agent.chat("Hi"))
        await asyncio.to_thread(model.asked.wait, 20)
        with pytest.raises(AgentBusyError):
            await agent.chat("Me too")
        model.go.set()
        assert (await first).reply == "Hello."
        assert len(agent.messages) == 3

    asyncio.run(main())


def test_sync_agents_in_an_executor_beside_asyncio(tmp_path: Path) -> None:
    async def main() -> None:
        sync, agent = sync_agent(tmp_path / "s", HELLO), agent_with(tmp_path / "a", HELLO)
        beside = asyncio.get_event_loop().run_in_executor(None, sync.chat, "Hi")
        assert (await agent.chat("Hi")).reply == (await beside).reply == "Hello."

    asyncio.run(main())


def test_messages_may_be_changed_between_chats(tmp_path: Path) -> None:
    seen: list[Sequence[ChatMessage]] = []

    def answer(messages: Sequence[ChatMessage]) -> str:
        seen.append(list(messages))
        return HELLO

    agent = Agent(memory_path=tmp_path, model=ScriptedModel(answer), predetermined_memory_path=True)
    messages = agent.messages
    messages.append(ChatMessage("user", "Once"))  # type: ignore[arg-type]  # a plain message will do
    agent.chat("Upon")
    assert agent.messages is messages
    assert [message.content for message in seen[0]][1:] == ["Once", "Upon"]
    assert messages[-1].role is Role.ASSISTANT


def test_a_conversation_outlives_the_thread(tmp_path: Path) -> None:
    agent = sync_agent(tmp_path, NOTED, HELLO, HELLO)
    agent.chat("Hi")
    shutdown()
    assert agent.chat("Again").reply == "Hello."
    assert len(agent.messages) == 7


def test_max_tool_turns_counts_as_it_is_now(tmp_path: Path) -> None:
    agent = sync_agent(tmp_path, NOTED, NOTED, HELLO)
    agent.max_tool_turns = 0
    assert agent.chat("Hi").stop_reason == "max_tool_turns"


def test_saved_conversations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sync = sync_agent(tmp_path / "m", HELLO)
    sync.chat("Grüße")
    sync.save_conversation(log=True)
    (path,) = (tmp_path / "output" / "conversations").glob("convo_*.json")
    assert capsys.readouterr().out == f"Conversation saved to {path}\n"
    saved = json.loads(path.read_text())
    assert [message["role"] for message in saved] == ["system", "user", "assistant"]
    assert saved[1]["content"] == "Grüße"
    path = asyncio.run(agent_with(tmp_path / "m", HELLO).save_conversation(save_folder=tmp_path / "mine"))
    assert path.parent == tmp_path / "mine"
    path = asyncio.run(agent_with(tmp_path / "m").save_conversation(save_folder="mine"))
    assert path.parent == tmp_path / "output" / "conversations" / "mine"
    assert sync.save_conversation(save_folder="mine").parent == tmp_path / "mine"
    assert [message["role"] for message in json.loads(path.read_text())] == ["system"]


@pytest.mark.parametrize("folder", [3, b"a", "", "a\0b", Path("a\0b")])
def test_folders_that_are_none(folder: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="save_folder: must be a folder's path"):
        sync_agent(tmp_path).save_conversation(save_folder=folder)
    with pytest.raises(InvalidInputError, match="save_folder: must be a folder's path"):
        asyncio.run(agent_with(tmp_path).save_conversation(save_folder=folder))


def test_a_folder_that_the_disk_refuses_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_agent(tmp_path).save_conversation(save_folder=tmp_path / "file" / "below")
    with pytest.raises(FileExistsError):
        asyncio.run(agent_with(tmp_path).save_conversation(save_folder=tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_after_shutdown(tmp_path: Path) -> None:
    """No process, no descriptor, no thread but Trio's own workers, which end by themselves."""

    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}

    with model_server([NOTED, HELLO]) as server:
        shutdown()
        before = descendants(), len(os.listdir("/proc/self/fd")), threads()
        agent = Agent(memory_path=tmp_path, model=loopback(server), predetermined_memory_path=True)
        assert agent.chat("Hi").blocks_saved == 1
        assert len(descendants()) > len(before[0])
        shutdown()
        until(lambda: not server.open_connections)
        assert (descendants(), len(os.listdir("/proc/self/fd")), threads()) == before


def test_a_memory_may_be_named_by_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    agent = agent_with(tmp_path / "link", NOTED, HELLO)
    assert asyncio.run(agent.chat("Hi")).blocks_saved == 1
    assert agent.memory_path == str(tmp_path / "link")
    assert execute_sandboxed_code("note = read_file('user.md')", allowed_path=tmp_path / "link") == (
        {"note": (tmp_path / "real" / "user.md").read_text()},
        "",
    )


def test_making_agents_starts_nothing(tmp_path: Path) -> None:
    shutdown()
    before = descendants(), set(threading.enumerate())
    for number in range(100):
        agent_with(tmp_path / str(number))
    assert (descendants(), set(threading.enumerate())) == before
    assert len(list(tmp_path.rglob("*"))) == 100  # their folders
