"""An agent with a scripted model, over the real sandbox and real notes."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioagent._config import AgentConfig, MemoryLimits, ModelConfig, RateLimits, RetryPolicy
from trioagent._errors import (
    AgentBusyError,
    InvalidInputError,
    MemoryPathError,
    ModelStatusError,
    ReplayMismatchError,
)
from trioagent._events import Answered, CodeResult, CodeStarted, Replied
from trioagent._messages import AgentResponse, ChatMessage, Usage
from trioagent._parsed_reply import Delta
from trioagent.agent import Agent
from trioagent.memory import UndoLog
from trioagent.models import AnswerEnd, ReasoningDelta, Retrying, TextDelta
from trioagent.nursery_runner import run_agents
from trioagent.runtime import Runtime, open_runtime
from trioagent.sandbox import BlockResult, Sandbox, open_sandbox
from trioagent.testing import (
    Fault,
    ModelRequest,
    ModelServer,
    Say,
    ScriptedModel,
    cancel_at_every_checkpoint,
    serve_model,
)

pytestmark = pytest.mark.real


def code(source: str) -> str:
    return f"<think>I will run code.</think>\n<python>\n{source}\n</python>"


def reply(words: str) -> str:
    return f"<think>I know.</think>\n<python></python>\n<reply>{words}</reply>"


NewAgent = Callable[..., AbstractAsyncContextManager[Agent]]


@asynccontextmanager
async def agent_with(answers: Iterable[Any], memory: Path, **options: Any) -> AsyncIterator[Agent]:
    async with open_runtime(model=ScriptedModel(answers)) as runtime:
        yield Agent(runtime, memory_path=memory, **options)


async def test_a_chat_runs_code_and_saves_notes(tmp_path: Path) -> None:
    answers = [code("done = create_file('user.md', '# Ada\\n- city: London\\n')"), reply("I will remember that.")]
    async with agent_with(answers, tmp_path / "ada") as agent:
        response = await agent.chat("I live in London.")
        saved = await agent.save_conversation(save_folder=tmp_path / "saved")
    assert response.reply == "I will remember that."
    assert response.python_block.startswith("done = create_file(")
    assert (response.turns, response.stop_reason, response.blocks_saved) == (2, "reply", 1)
    assert response.tier == "kernel" == json.loads(saved.read_text())["tier"]
    assert (tmp_path / "ada" / "user.md").read_text() == "# Ada\n- city: London\n"
    assert [message.role for message in agent.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert agent.messages[3].content == "<result>\n({'done': True}, '')\n</result>"


async def test_the_conversation_goes_on_in_the_next_chat(tmp_path: Path) -> None:
    model = ScriptedModel([reply("Hello."), reply("Goodbye.")])
    async with open_runtime(model=model) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        await agent.chat("Hi")
        await agent.chat("Bye")
    assert [message.content for message in model.calls[1][1:]] == ["Hi", reply("Hello."), "Bye"]


async def test_an_error_in_a_block_saves_nothing_and_tells_the_model(tmp_path: Path) -> None:
    answers = [code("create_file('a.md', 'x')\nboom"), reply("It failed.")]
    async with agent_with(answers, tmp_path) as agent:
        response = await agent.chat("Go")
    assert response.blocks_saved == 0
    assert "NameError" in agent.messages[3].content
    assert "Nothing was saved." in agent.messages[3].content
    assert list(tmp_path.iterdir()) == []


async def test_stream_chat_gives_everything_in_order(tmp_path: Path) -> None:
    answers = [code("x = 40 + 2"), reply("It is 42.")]
    async with agent_with(answers, tmp_path) as agent, agent.stream_chat("Compute") as events:
        seen = [event async for event in events]
    kinds = [type(event).__name__ for event in seen if not isinstance(event, Delta)]
    assert kinds == ["Answered", "CodeStarted", "CodeResult", "Answered", "Replied"]
    said = "".join(event.text for event in seen if isinstance(event, Delta) and event.kind == "reply")
    assert said == "It is 42."
    result = next(event.result for event in seen if isinstance(event, CodeResult))
    assert (result.locals, result.error, result.saved) == ({"x": "42"}, "", False)
    assert isinstance(seen[-1], Replied)
    assert isinstance(seen[-1].response, AgentResponse)


async def test_a_retry_voids_what_was_said(tmp_path: Path) -> None:
    parts = [
        TextDelta("<think>wrong</think><reply>No"),
        Retrying(ModelStatusError(503), 0.0, 1),
        TextDelta(reply("Yes.")),
        AnswerEnd(Usage(prompt_tokens=5, completion_tokens=7, requests=2), "stop"),
    ]
    async with agent_with([parts], tmp_path) as agent:
        response = await agent.chat("Really?")
    assert (response.reply, response.usage.requests) == ("Yes.", 2)


async def test_an_answer_that_is_stopped_early_is_estimated_by_its_own_text(tmp_path: Path) -> None:
    """What an attempt that failed had said until then is no part of the answer."""
    answer = TextDelta(reply("Yes."))
    wrong = [TextDelta("<think>" + "wrong " * 1000), ReasoningDelta("wrong " * 1000)]
    answers = [[answer], [*wrong, Retrying(ModelStatusError(503), 0.0, 1), answer]]
    async with agent_with(answers, tmp_path) as agent:
        first = await agent.chat("Really?")
        second = await agent.chat("Really?")
    assert first.usage.estimated
    assert first.usage.completion_tokens == second.usage.completion_tokens == -(-len(answer.text) // 4)
    assert (first.usage.requests, second.usage.requests) == (1, 2)


CUT_CODE = "<think>move it</think>\n<python>\nt = read_file('keep.md')\ndelete_file('keep.md')\n"
CUT_REPLY = "<think>t</think><python></python><reply>Your note has been mov"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_cut_answer_is_never_run_and_never_a_reply(reason: str, tmp_path: Path, nursery: trio.Nursery) -> None:
    (tmp_path / "keep.md").write_text("precious\n")
    answers = [Say(CUT_CODE, finish_reason=reason), Say(CUT_REPLY, finish_reason=reason)]
    server: ModelServer = await nursery.start(serve_model, answers)
    async with open_runtime(ModelConfig(base_url=server.base_url, model="any")) as runtime:
        agent = Agent(runtime, memory_path=tmp_path, max_tool_turns=1)
        response = await agent.chat("Rename keep to new")
    assert [path.name for path in tmp_path.iterdir()] == ["keep.md"]
    assert (response.reply, response.stop_reason, response.partial) == ("", "cut", "Your note has been mov")
    assert response.finish_reasons == (reason, reason)
    assert "was cut" in server.requests[1].messages[-1]["content"]


async def test_a_stop_sequence_that_ends_code_or_reply_is_no_cut(tmp_path: Path) -> None:
    answers = ["<think>p</think><python>create_file('a.md', 'x')", "<think>p</think><python></python><reply>Done."]
    async with agent_with(answers, tmp_path) as agent:
        response = await agent.chat("Go")
    assert (response.reply, response.blocks_saved) == ("Done.", 1)


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_reply_stands_whatever_happens_to_the_connection_behind_it(
    attempts: int, tmp_path: Path, nursery: trio.Nursery
) -> None:
    server: ModelServer = await nursery.start(serve_model, [Fault.half_body(reply("Hello."), then="reset")] * 2)
    retry = RetryPolicy(attempts=attempts, first_delay=0.01)
    async with open_runtime(ModelConfig(base_url=server.base_url, model="any", retry=retry)) as runtime:
        assert (await Agent(runtime, memory_path=tmp_path).chat("Hi")).reply == "Hello."
    assert server.served == 1


async def test_code_considered_in_thoughts_without_an_opening_tag_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "keep.md").write_text("precious\n")
    considered = "I could run <python>delete_file('keep.md')</python>, but no.</think>\n<python></python><reply>Kept."
    async with agent_with([considered], tmp_path) as agent:
        response = await agent.chat("Tidy up")
    assert (response.reply, response.python_block) == ("Kept.", "")
    assert (tmp_path / "keep.md").exists()


DELETES = "<python>delete_file('keep.md')</python>"
CONSIDERED = [
    f"I could {DELETES}, but no.</think> Or <think>p</think>{DELETES}? No.</think>",
    f"<think>I could.</think> So: {DELETES}. But no.</think>",
    f"I'd write <think>p</think>{DELETES}<reply>Gone.</reply>, but no.</think>\n<think>p</think>",
    f"<think>I'd write:\n<think>p</think>{DELETES}\nBut no.</think>",
    f"<|channel|>analysis<|message|>{DELETES}?<|end|><|start|>assistant<|channel|>final<|message|>",
    f"analysisWe could {DELETES}, but no.assistantfinal",
]


@pytest.mark.parametrize("considered", CONSIDERED)
async def test_what_is_only_considered_does_not_run_whole_or_streamed(
    considered: str, tmp_path: Path, nursery: trio.Nursery
) -> None:
    (tmp_path / "keep.md").write_text("precious\n")
    text = f"{considered}<python></python><reply>Kept.</reply>"
    answers = [Say(text), *(Say(text, chunk=size) for size in (1, 7, 50))]
    server: ModelServer = await nursery.start(serve_model, answers)
    for stream, count in ((False, 1), (True, 3)):
        config = ModelConfig(base_url=server.base_url, model="any", stream=stream)
        async with open_runtime(config) as runtime:
            for _ in range(count):  # also when it is known how the model marks its thoughts
                response = await Agent(runtime, memory_path=tmp_path).chat("Tidy up")
                assert (response.reply, response.python_block) == ("Kept.", "")
    assert (tmp_path / "keep.md").exists()


async def test_a_model_that_leaves_out_its_opening_tag_is_stopped_early_all_the_same(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    answers = [
        Fault.endless("I wonder.</think><python>x = 1</python> and more "),
        Fault.endless("I wonder.</think><think>So.</think><python></python><reply>Done.</reply> and more "),
    ]
    server: ModelServer = await nursery.start(serve_model, answers)
    async with open_runtime(ModelConfig(base_url=server.base_url, model="any")) as runtime:
        with trio.fail_after(20):
            response = await Agent(runtime, memory_path=tmp_path).chat("Go")
    assert (response.reply, response.finish_reasons) == ("Done.", ("", ""))


async def test_a_model_without_thoughts_is_stopped_early_from_its_second_answer_on(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    short, endless = Say("<python>x = 1</python> and"), Fault.endless("<python>y = 2</python> and more ")
    server: ModelServer = await nursery.start(serve_model, [short, endless, Say("<reply>Done.</reply>")])
    async with open_runtime(ModelConfig(base_url=server.base_url, model="any")) as runtime:
        with trio.fail_after(20):
            response = await Agent(runtime, memory_path=tmp_path).chat("Go")
    assert (response.reply, response.python_block) == ("Done.", "y = 2")
    assert response.finish_reasons == ("stop", "", "stop")


async def test_an_answer_of_reasoning_alone_is_thoughts_and_not_sent_back_empty(tmp_path: Path) -> None:
    parts = [ReasoningDelta("I wonder."), AnswerEnd(Usage(prompt_tokens=1, completion_tokens=1), "stop")]
    async with agent_with([parts, parts], tmp_path, max_tool_turns=1) as agent, agent.stream_chat("Hi") as events:
        seen = [event async for event in events]
    assert Delta("think", "I wonder.") in seen
    assert isinstance(seen[-1], Replied)
    assert seen[-1].response.thoughts == "I wonder."


async def test_leaving_a_stream_early_stops_the_turn(tmp_path: Path) -> None:
    answers = [code("create_file('a.md', 'x')"), reply("Done.")]
    async with agent_with(answers, tmp_path) as agent:
        async with agent.stream_chat("Go") as events:
            async for event in events:
                if isinstance(event, CodeStarted):
                    break
        assert list(tmp_path.iterdir()) == []
        assert "stopped before it ended" in agent.messages[-1].content
        assert (await agent.chat("And now?")).reply == "Done."


async def test_a_failing_model_takes_the_message_back(tmp_path: Path) -> None:
    async with agent_with([ModelStatusError(401), reply("Hello.")], tmp_path) as agent:
        with pytest.raises(ModelStatusError):
            await agent.chat("Hi")
        assert [message.role for message in agent.messages] == ["system"]
        assert (await agent.chat("Hi")).reply == "Hello."


async def test_a_later_failure_keeps_what_was_answered(tmp_path: Path) -> None:
    async with agent_with([code("x = 1"), ModelStatusError(500)], tmp_path) as agent:
        with pytest.raises(ModelStatusError):
            await agent.chat("Hi")
        assert [message.role for message in agent.messages] == ["system", "user", "assistant", "tool"]


async def test_one_chat_at_a_time(tmp_path: Path) -> None:
    async with agent_with([code("x = 1"), reply("a")], tmp_path) as agent, agent.stream_chat("Hi") as events:
        async for event in events:
            if isinstance(event, Answered):
                with pytest.raises(AgentBusyError):
                    await agent.chat("Again")
                break


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\0b", "NUL at position 1"),
        ("x" * (1 << 20), "1,048,576 characters"),
        ("\ud800", "not valid Unicode"),
        (b"bytes", "must be text, not bytes"),
    ],
)
async def test_bad_messages(message: Any, problem: str, tmp_path: Path) -> None:
    async with agent_with([reply("unused")], tmp_path / "new") as agent:
        with pytest.raises(InvalidInputError, match=problem):
            await agent.chat(message)
        assert len(agent.messages) == 1
        assert not (tmp_path / "new").exists()


async def test_bad_memory_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/etc")
    async with open_runtime(model=ScriptedModel([code("x = 1")] * 2)) as runtime:
        for name, problem in [("file", "file"), ("link", "symbolic link")]:
            with pytest.raises(MemoryPathError, match=problem):
                await Agent(runtime, memory_path=tmp_path / name).chat("Hi")


async def test_nasty_notes_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    (tmp_path / "large.md").write_bytes(b"x" * (2 << 20))
    (tmp_path / "crlf.md").write_bytes(b"# A\r\n- key: value\r\n")
    (tmp_path / "front.md").write_bytes(b"---\nkey: [\n# no end")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    source = "texts = [len(read_file(f)) > 0 for f in list_files()]\nok = create_file('new.md', 'hello')"
    async with agent_with([code(source), reply("ok")], tmp_path) as agent:
        response = await agent.chat("Read all")
    assert response.blocks_saved == 1, agent.messages[3].content
    assert "'ok': True" in agent.messages[3].content
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before | {"new.md": b"hello"}


async def test_max_tool_turns(tmp_path: Path) -> None:
    async with agent_with([code("x = 1")] * 3, tmp_path, max_tool_turns=2) as agent:
        response = await agent.chat("Loop")
    assert (response.stop_reason, response.reply, response.turns) == ("max_tool_turns", "", 3)


async def test_settings(tmp_path: Path) -> None:
    async with open_runtime(model=ScriptedModel([])) as runtime:
        agent = Agent(runtime, memory_path=tmp_path, system_prompt="Be brief.", max_tool_turns=3)
        assert agent.messages == [ChatMessage("system", "Be brief.")]
        assert agent.config == AgentConfig(max_tool_turns=3, system_prompt="Be brief.")
        with pytest.raises(InvalidInputError, match="max_tool_turns"):
            Agent(runtime, memory_path=tmp_path, max_tool_turns=-1)
        with pytest.raises(InvalidInputError, match="message_chars"):
            Agent(runtime, memory_path=tmp_path, message_chars=0)
        for name in ("not a name", "class", "_hidden", "read_file"):
            with pytest.raises(InvalidInputError, match="host_tools"):
                Agent(runtime, memory_path=tmp_path, host_tools={name: _double})
        with pytest.raises(InvalidInputError, match="async function"):
            Agent(runtime, memory_path=tmp_path, host_tools={"double": lambda x: x})


async def _double(x: int) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * x


async def test_host_tools_run_in_the_callers_scope(tmp_path: Path) -> None:
    answers = [code("y = double(21)"), reply("42")]
    async with agent_with(answers, tmp_path, host_tools={"double": _double}) as agent:
        assert "double(…)" in agent.messages[0].content
        await agent.chat("Double 21")
        assert agent.messages[3].content == "<result>\n({'y': 42}, '')\n</result>"


async def test_cancelling_a_host_tool_cancels_the_chat(tmp_path: Path) -> None:
    entered, left = trio.Event(), trio.Event()

    async def wait_forever() -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            left.set()

    source = "create_file('a.md', 'x')\nwait_forever()"
    async with agent_with([code(source)], tmp_path, host_tools={"wait_forever": wait_forever}) as agent:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.chat, "Go")
            await entered.wait()
            nursery.cancel_scope.cancel()
        assert left.is_set()
        assert list(tmp_path.iterdir()) == []


async def test_save_conversation(tmp_path: Path) -> None:
    async with agent_with([reply("Hé \ud83d")], tmp_path / "memory") as agent:
        await agent.chat("Hi")
        path = await agent.save_conversation(save_folder=tmp_path / "out" / "deep")
    body = json.loads(path.read_text())
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant"]
    assert path.name.startswith("convo_") and body["tier"] == ""
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_save_conversation_says_that_its_log_goes_away(tmp_path: Path) -> None:
    async with agent_with([], tmp_path) as agent:
        with pytest.warns(DeprecationWarning, match="log the path"):
            assert (await agent.save_conversation(log=True, save_folder=tmp_path)).exists()


async def test_undo_takes_a_whole_chat_back(tmp_path: Path) -> None:
    (tmp_path / "user.md").write_text("before")
    answers = [code("create_file('user.md', 'one')"), code("create_file('b.md', 'two')"), reply("ok")]
    async with agent_with(answers, tmp_path) as agent:
        undo = UndoLog()
        async with agent.stream_chat("Go", undo=undo) as events:
            assert [event async for event in events]
        assert (tmp_path / "b.md").exists()
        assert await agent.memory.roll_back(undo)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"user.md": "before"}


def _notes(memory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in memory.glob("*")} if memory.exists() else {}


def _children() -> set[str]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found.add(pid) if fields[1] == str(os.getpid()) else None
    return found


async def test_cancelling_at_every_checkpoint_of_a_chat(tmp_path: Path) -> None:
    """No child, no socket, no descriptor is left, and the notes are whole: as before the block, or as after it."""
    block = code("create_file('a.md', 'one')\ncreate_file('b.md', 'two')")
    slow = Say(reply("Saved."), chunk=8, pace=0.002)  # in pieces, so that there are waits after the commit too

    def handler(request: ModelRequest) -> str | Say:
        return block if len(request.body["messages"]) == 2 else slow

    run = 0
    saved, untouched = {"a.md": "one", "b.md": "two"}, dict[str, str]()
    states = list[bool]()
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, handler)
        config = ModelConfig(base_url=server.base_url, model="test", retry=RetryPolicy(attempts=1))
        async with open_runtime(model=config) as runtime:
            agent = Agent(runtime, memory_path=tmp_path / "warm-up")
            await agent.chat("Go")
            children, descriptors = _children(), _descriptors()

            async def chat() -> None:
                nonlocal agent
                agent = Agent(runtime, memory_path=tmp_path / f"memory{run}")
                await agent.chat("Go")

            async def check() -> None:
                nonlocal run
                notes = _notes(agent.memory_path)
                assert notes in (saved, untouched)
                told = [message.content for message in agent.messages if message.role == "tool"]
                assert all(("stopped before it ended" in text) == (notes == untouched) for text in told), (notes, told)
                states.append(notes == saved)
                assert _children() == children
                with trio.fail_after(20):
                    while server.open_connections > 2 or _descriptors() > descriptors + 2:  # idle connections may stay
                        await trio.sleep(0.001)
                run += 1

            cancelled = await cancel_at_every_checkpoint(chat, after_each=check)
        nursery.cancel_scope.cancel()
    assert cancelled > 20
    assert states.count(True) > 3
    assert states.count(False) > 10
    assert states[-1]


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_hundred_idle_agents_hold_nothing(tmp_path: Path) -> None:
    async with open_runtime(model=ScriptedModel([reply("a")])) as runtime:
        before = _descriptors()
        agents = [Agent(runtime, memory_path=tmp_path / str(number)) for number in range(100)]
        await agents[0].chat("Hi")
        assert _descriptors() <= before
        assert not any(tmp_path.iterdir())


async def test_open_sandbox_runs_blocks_without_an_agent(tmp_path: Path) -> None:
    async with open_sandbox() as sandbox:
        assert isinstance(sandbox, Sandbox)
        result = await sandbox.run("x = [1, 2]\nprint('hi')\ncreate_file('a.md', 'x')", memory_path=tmp_path / "m")
    assert (result.locals, result.error, result.printed, result.saved) == ({"x": "[1, 2]"}, "", "hi\n", True)


async def test_runtime_closes_even_if_the_body_raises(tmp_path: Path) -> None:
    before = _children()
    with pytest.raises(ZeroDivisionError):
        async with open_runtime("offline-rules") as runtime:
            assert isinstance(runtime, Runtime)
            raise ZeroDivisionError
    assert _children() == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": "gpt-4"}, "gpt-4"),
        ({"model": ""}, "''"),
        ({"model": None}, "must be a name, a ModelConfig or a Model, not None"),
        ({"model": 5}, "not 5"),
        ({"model": ScriptedModel([]), "api_key": "secret"}, "api_key: only beside a model's name.*its own settings"),
        (
            {"model": ModelConfig(base_url="http://x", model="m"), "base_url": "http://y"},
            "base_url: .* in the M",
        ),
        ({"model": ModelConfig(base_url="http://x", model="m"), "rate": RateLimits()}, "rate: .* in the ModelConfig"),
        ({"model": ScriptedModel([]), "rate": RateLimits()}, "rate: only beside a model's name"),
    ],
)
async def test_runtime_refuses_what_it_cannot_use(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        async with open_runtime(**options):
            raise AssertionError


async def test_a_runtime_needs_a_model() -> None:
    with pytest.raises(TypeError, match="'model'"):
        open_runtime()  # type: ignore[call-arg]


async def test_models_opened_by_name_have_the_rate_of_the_runtime() -> None:
    rate = RateLimits(max_in_flight=3)
    async with open_runtime("vllm:a", rate=rate) as runtime:
        assert runtime.rate == rate
    async with open_runtime(ModelConfig(base_url="http://127.0.0.1:9", model="a", rate=rate)) as runtime:
        assert runtime.rate == rate


async def test_a_model_that_is_down_is_one_clear_error(tmp_path: Path) -> None:
    config = ModelConfig(base_url="http://127.0.0.1:9", model="x", retry=RetryPolicy(attempts=1))
    async with open_runtime(model=config, memory_limits=MemoryLimits()) as runtime:
        with pytest.raises(Exception, match="no answer from the model at http://127.0.0.1:9"):
            await Agent(runtime, memory_path=tmp_path).chat("Hi")


async def test_generation_stops_when_the_reply_is_complete(tmp_path: Path) -> None:
    """A server that keeps talking is left as soon as the reply is closed, and the usage is an estimate."""
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [Fault.endless(reply("Enough."), pace=0.01)])
        async with open_runtime(model=ModelConfig(base_url=server.base_url, model="x")) as runtime:
            response = await Agent(runtime, memory_path=tmp_path).chat("Hi")
        nursery.cancel_scope.cancel()
    assert response.reply == "Enough."
    assert response.usage.estimated
    assert server.requests[0].pieces_sent < 20


async def test_a_chat_begun_on_the_reply_is_kept(tmp_path: Path) -> None:
    async with agent_with([reply("One."), reply("Two."), reply("Three.")], tmp_path) as agent:
        async with agent.stream_chat("a") as events:
            async for event in events:
                if isinstance(event, Replied):
                    assert (await agent.chat("b")).reply == "Two."
                    async with agent.stream_chat("c") as inner:
                        assert [type(event) for event in [_ async for _ in inner]][-1] is Replied
        assert [message.content for message in agent.messages if message.role == "user"] == ["a", "b", "c"]
        assert len(agent.messages) == 7


async def test_code_runs_only_when_the_reader_asks_for_its_result(tmp_path: Path) -> None:
    async with agent_with([code("create_file('a.md', 'x')"), reply("ok")], tmp_path) as agent:
        async with agent.stream_chat("Go") as events:
            async for event in events:
                if isinstance(event, CodeResult):
                    break
                await wait_all_tasks_blocked(0.02)
                assert list(tmp_path.iterdir()) == []
            assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


async def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    async def emit(event: object) -> None:
        pass

    async with agent_with([reply("unused")], tmp_path) as agent:
        past = [CodeResult(BlockResult(locals={}, error="", printed="", saved=False, tier="kernel"))]
        with pytest.raises(ReplayMismatchError, match="has a block's result where the conversation needs an answer"):
            await agent._drive("Go", emit, past=past)
        assert len(agent.messages) == 1


@pytest.mark.parametrize("how", ["chat", "run_agents"])
async def test_a_host_tool_that_wants_the_notes_of_its_block_is_told(how: str, tmp_path: Path) -> None:
    inner_model = ScriptedModel([code("create_file('b.md', 'x')"), reply("unused")])

    async def ask() -> str:
        inner = Agent(runtime, memory_path=tmp_path, model=inner_model)
        if how == "chat":
            return (await inner.chat("Go")).reply
        return (await run_agents([inner], ["Go"]))[0].reply

    model = ScriptedModel([code("create_file('a.md', 'x')\nask()"), reply("I see.")])
    with trio.fail_after(15):
        async with open_runtime(model) as runtime:
            agent = Agent(runtime, memory_path=tmp_path, host_tools={"ask": ask})
            assert (await agent.chat("Go")).reply == "I see."
    assert f"MemoryDeadlockError: waiting for the memory {str(tmp_path)!r} would never end" in agent.messages[3].content
    assert not list(tmp_path.glob("*.md"))


class _OneDelta:
    """A model that says all of an answer at once."""

    name = "all-at-once"

    def __init__(self, text: str) -> None:
        self._text = text

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[TextDelta | AnswerEnd]]:
        async def parts() -> AsyncIterator[TextDelta | AnswerEnd]:
            yield TextDelta(self._text)
            yield AnswerEnd(Usage(), "stop")

        yield parts()


async def test_an_answer_in_one_piece_lets_others_run(tmp_path: Path) -> None:
    """A megabyte of tags: others have their turn after every thousand of them."""
    turns, done = 0, False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await trio.lowlevel.checkpoint()

    text = "<think>" * 150_000
    async with open_runtime(model=_OneDelta(text)) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            response = await Agent(runtime, memory_path=tmp_path, max_tool_turns=0).chat("hello")
            done = True
    assert response.stop_reason == "max_tool_turns" and turns > len(text) / 7 / 1000
