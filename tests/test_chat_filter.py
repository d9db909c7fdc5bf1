"""Filters of a chat: nothing that is withheld leaves in a result, a reply, an error, or a piece of one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from trioagent import Agent, AuditRecord, ChatFilter, InvalidInputError, ModelError, VaultPolicy, WithheldError
from trioagent._events import AgentEvent, CodeStarted, Replied
from trioagent.models import Retrying
from trioagent.runtime import Runtime, open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

SECRET = "hunter2secret"
NOTES = {
    "user.md": f"# Ada\n- age: 34\n- password: {SECRET}\n- sister: [[entities/grace]]\n",
    "entities/grace.md": "# Grace\n- city: Lisbon\n",
    "journal/may.md": "Grace has left her job.\n",
}
REPLY = "<think>t</think><python></python><reply>{}</reply>"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    for name, text in NOTES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def code(text: str) -> str:
    return f"<think>t</think><python>\n{text}\n</python>"


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime(ScriptedModel([])) as runtime:
        yield runtime


def agent_of(runtime: Runtime, memory: Path, *answers: object, chunk: int = 3, **settings: object) -> Agent:
    model = ScriptedModel(answers, chunk=chunk)  # type: ignore[arg-type]
    return Agent(runtime, memory_path=memory, model=model, **settings)  # type: ignore[arg-type]


def asked(agent: Agent) -> str:
    """All that the model was shown."""
    assert isinstance(agent._model, ScriptedModel)
    return json.dumps([[message.content for message in call] for call in agent._model.calls], ensure_ascii=False)


def said(agent: Agent) -> str:
    return json.dumps([attrs.asdict(message) for message in agent.messages], ensure_ascii=False)


LEAKS = f"""
text = read_file("user")
lines = text.splitlines()
letters = list(text[text.index("hunter"):])
{SECRET} = 1
back = text[::-1]
data = text.encode()
print(text)
print(text.upper(), repr(text), ascii(text), data.hex())
nested = {{"a": [{{text: (text, data)}}]}}
raise ValueError("the password is " + text)
"""


@pytest.mark.parametrize("rule", [SECRET, re.compile(r"hunter2\w+|2retnuh|68756e746572", re.IGNORECASE)])
async def test_nothing_withheld_leaves_a_block(runtime: Runtime, memory: Path, rule: object) -> None:
    leaks = LEAKS if isinstance(rule, str) else LEAKS.replace("letters = ", "_ = ").replace("back = ", "_ = ")
    records: list[AuditRecord] = []
    agent = agent_of(
        runtime, memory, code(leaks), code(leaks.replace("raise ValueError", "print")), REPLY.format("Ok.")
    )
    chat_filter = ChatFilter(redact={"password": rule}, audit=records.append)
    events: list[AgentEvent] = []
    async with agent.stream_chat("What is it?", chat_filter=chat_filter) as stream:
        events.extend([event async for event in stream])
    for place in (asked(agent), said(agent), repr(events)):
        assert "[withheld]" in place
    own = re.compile(r"hunter2secret|terces2retnuh|" + SECRET.encode().hex(), re.IGNORECASE)
    tools = [message.content for message in agent.messages if message.role == "tool"]
    assert len(tools) == 2 and "ValueError" in tools[0]
    for place in (repr(events), said(agent)):
        assert not own.search(place), place
    block, *_ = (record for record in records if record.kind == "block")
    assert block.memory == str(memory) and block.read == ("user.md",) and block.written == ()
    assert block.withheld["password"] >= 2


async def test_nothing_withheld_leaves_an_answer_in_pieces(runtime: Runtime, memory: Path) -> None:
    """Whatever the split of the stream."""
    for chunk in (1, 2, 5, 400):
        agent = agent_of(
            runtime,
            memory,
            f"<think>It is {SECRET}, really.</think><python>x = '{SECRET}'</python>",
            f"<think>It is {SECRET}, really.</think><python></python><reply>So: {SECRET}! Ok?</reply>",
            chunk=chunk,
        )
        events: list[AgentEvent] = []
        async with agent.stream_chat("?", chat_filter=ChatFilter(redact=[SECRET])) as stream:
            events.extend([event async for event in stream])
        assert "hunter" not in repr(events) and "secret" not in repr(events)
        assert isinstance(events[-1], Replied)
        assert events[-1].response.reply == "So: [withheld]! Ok?"
        assert events[-1].response.thoughts == "It is [withheld], really."
        assert events[-1].response.python_block == "x = '[withheld]'"
        assert "hunter" not in said(agent) and "[withheld]" in said(agent)


async def test_the_code_itself_runs_as_it_was_written(runtime: Runtime, memory: Path) -> None:
    agent = agent_of(runtime, memory, code(f"there = {SECRET!r} in read_file('user')"), REPLY.format("Yes."))
    response = await agent.chat("?", chat_filter=ChatFilter(redact=[SECRET]))
    assert "{'there': True}" in said(agent) and "hunter" not in response.python_block


async def test_notes_that_may_not_be_read(runtime: Runtime, memory: Path, caplog: pytest.LogCaptureFixture) -> None:
    records: list[AuditRecord] = []
    look = "a, b = read_file('journal/may'), list_files()\nc = search('job')\ncreate_file('entities/eva', 'x')"
    agent = agent_of(runtime, memory, code(look), REPLY.format("Ok."))
    with caplog.at_level(logging.INFO, "trioagent.audit"):
        await agent.chat("?", chat_filter=ChatFilter(readable=["**", "!journal/**"], audit=records.append))
    assert "left her job" not in asked(agent) and "but not journal/**" in asked(agent)
    (record,) = records
    assert record.not_shown == ("journal/may", "journal/may.md") and record.written == ("entities/eva.md",)
    assert record.read == () and dict(record.withheld) == {}
    assert [json.loads(line.message) for line in caplog.records] == [json.loads(json.dumps(attrs.asdict(record)))]
    assert (memory / "journal" / "may.md").read_text() == NOTES["journal/may.md"]


async def test_the_policy_of_the_memory_counts_besides(runtime: Runtime, memory: Path) -> None:
    agent = agent_of(
        runtime,
        memory,
        code("x = list_files()"),
        REPLY.format("Ok."),
        policy=VaultPolicy(readable=["user.md", "journal/**"]),
    )
    await agent.chat("?", chat_filter=ChatFilter(readable=["journal/**", "entities/**"]))
    assert "{'x': ['journal/may.md']}" in asked(agent)


async def test_what_was_said_before_is_filtered_too(runtime: Runtime, memory: Path) -> None:
    agent = agent_of(
        runtime,
        memory,
        code("x = read_file('user'), read_file('journal/may')"),
        REPLY.format(f"It is {SECRET}. She has left her job."),
        REPLY.format("Ok."),
        REPLY.format("Ok."),
        REPLY.format("Again."),
        REPLY.format("All."),
    )
    await agent.chat("one")
    assert isinstance(agent._model, ScriptedModel)
    kept = list(agent.messages)
    await agent.chat("two", chat_filter=ChatFilter(redact=[SECRET]))
    shown = json.dumps([message.content for message in agent._model.calls[2]])
    assert "hunter" not in shown and "left her job" in shown
    await agent.chat("three", chat_filter=ChatFilter(readable=["!journal/**"]))
    shown = json.dumps([message.content for message in agent._model.calls[3][1:]])
    assert shown == '["three"]'
    await agent.chat("four", chat_filter=ChatFilter(readable=["!journal/**"]))
    assert [message.content for message in agent._model.calls[4][1:]] == ["three", REPLY.format("Ok."), "four"]
    assert agent.messages[: len(kept)] == kept
    await agent.chat("five")
    assert len(agent._model.calls[5]) == len(agent.messages) - 1  # an unfiltered chat sees everything


async def test_an_agents_own_filter(runtime: Runtime, memory: Path) -> None:
    agent = agent_of(
        runtime,
        memory,
        REPLY.format(SECRET),
        REPLY.format(SECRET),
        chat_filter=ChatFilter(redact=[SECRET], replacement="*", instruction="Say little."),
    )
    assert (await agent.chat("?")).reply == "*"
    assert isinstance(agent._model, ScriptedModel)
    assert agent._model.calls[0][-1].content == "?\n\nSay little." and agent.messages[1].content == "?"
    assert (await agent.chat("?", chat_filter=ChatFilter())).reply == SECRET


async def test_errors_and_retries(runtime: Runtime, memory: Path) -> None:
    parts = [
        Retrying(ModelError(f"said {SECRET}"), delay=0.0, attempt=1),
        *ScriptedModel([])._split((), REPLY.format("a")),
    ]
    agent = agent_of(runtime, memory, parts, ModelError(f"could not say {SECRET}"), ModelError("plain"))
    events: list[AgentEvent] = []
    chat_filter = ChatFilter(redact=[SECRET])
    async with agent.stream_chat("?", chat_filter=chat_filter) as stream:
        events.extend([event async for event in stream])
    assert "hunter" not in repr(events) and any(isinstance(event, Retrying) for event in events)
    with pytest.raises(WithheldError, match="a ModelError, whose text") as caught:
        await agent.chat("?", chat_filter=chat_filter)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    with pytest.raises(ModelError, match="plain"):
        await agent.chat("?", chat_filter=chat_filter)


async def test_one_chat_at_a_time_with_filters_too(runtime: Runtime, memory: Path) -> None:
    from trioagent import AgentBusyError

    agent = agent_of(runtime, memory, REPLY.format("a"))
    busy = []

    async def other() -> None:
        try:
            await agent.chat("?", chat_filter=ChatFilter(redact=["x"]))
        except AgentBusyError:
            busy.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        nursery.start_soon(other)
    assert busy == [1]


async def test_functions(runtime: Runtime, memory: Path) -> None:
    def cities(text: str) -> str:
        return text.replace("Lisbon", "a city")

    def broken(text: str) -> str:
        raise RuntimeError("no")

    agent = agent_of(runtime, memory, code("x = read_file('entities/grace')"), REPLY.format("In Lisbon."), "x")
    assert (await agent.chat("?", chat_filter=ChatFilter(redact=[cities]))).reply == "In a city."
    assert "a city" in asked(agent) and "Lisbon" not in asked(agent).replace("In Lisbon", "")
    with pytest.raises(RuntimeError, match="no"):
        await agent.chat("?", chat_filter=ChatFilter(redact=[broken]))


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"redact": "text"}, "redact"),
        ({"redact": [1]}, r"redact\[0\]"),
        ({"redact": {"empty": " "}}, "empty"),
        ({"readable": ["/x"]}, "readable"),
        ({"readable": "x"}, "readable"),
    ],
)
def test_filters_that_are_none(bad: dict[str, object], what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        ChatFilter(**bad)  # type: ignore[arg-type]


async def test_a_chat_that_is_stopped_leaves_nothing_withheld(runtime: Runtime, memory: Path) -> None:
    agent = agent_of(runtime, memory, code(f"x = '{SECRET}'\nimport time\ntime.sleep(60)"))
    async with agent.stream_chat("?", chat_filter=ChatFilter(redact=[SECRET])) as events:
        async for event in events:
            if isinstance(event, CodeStarted):
                break
    assert "hunter" not in said(agent) and "stopped before it ended" in said(agent)
