"""Conversations that outgrow the model's context, and what prompts say of the date, also in resumed runs."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent import (
    Agent,
    AgentResponse,
    BatchConfig,
    ChatMessage,
    CodeResult,
    ContextTrimmed,
    InvalidInputError,
    Job,
    LeftOut,
    ModelConfig,
    Replied,
    open_runtime,
    run_batch,
)
from trioagent._exceptions import open_helper_nursery
from trioagent._prompt import built_in_prompt
from trioagent._runs import RunChangedError, prompt_hash
from trioagent.batch import CONVERSATIONS, read_rows
from trioagent.models import AnswerPart
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

LOOK = "<think>look</think><python>\na = 'x' * 3000\n</python>"
REPLY = "<think>ok</think><python></python><reply>Done.</reply>"
SCRIPT = (LOOK, LOOK, LOOK, REPLY, LOOK, LOOK, REPLY)
PROMPT = "You have notes."


class Limited(ScriptedModel):
    """A model with a context; it falls silent after its last answer."""

    def __init__(self, answers: Sequence[str], context_tokens: int | None = 4000) -> None:
        super().__init__(answers)
        self.config = ModelConfig(base_url="http://localhost/v1", model="m", context_tokens=context_tokens)
        self._left = len(answers)
        self.silent = trio.Event()

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        if not self._left:
            self.silent.set()
            await trio.sleep_forever()
        self._left -= 1
        async with super().answer(messages) as parts:
            yield parts


async def test_the_caller_and_the_model_are_told_what_is_left_out(tmp_path: Path) -> None:
    model = Limited([LOOK] * 4 + [REPLY])
    async with open_runtime(model) as runtime:
        agent = Agent(runtime, memory_path=tmp_path, system_prompt=PROMPT)
        async with agent.stream_chat("Look.") as events:
            told = [event async for event in events if isinstance(event, ContextTrimmed | CodeResult | Replied)]
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["CodeResult"] * 4 + ["ContextTrimmed", "Replied"]
    trimmed, replied = told[4], told[5]
    assert isinstance(trimmed, ContextTrimmed) and isinstance(replied, Replied)
    assert trimmed.left_out.results in (1, 2) and not trimmed.left_out.messages
    assert replied.response.left_out == trimmed.left_out
    assert "is not shown any more: the conversation outgrew your context" in model.calls[4][3].content
    assert "not shown any more" not in model.calls[3][3].content
    # The conversation itself is whole.
    assert all("not shown any more" not in message.content for message in agent.messages)
    # A variable of 3,002 characters is more than a quarter of the room.
    assert "for more, assign a part such as [2249:4498])" in agent.messages[3].content


async def test_no_limit_no_change(tmp_path: Path) -> None:
    model = Limited([LOOK] * 4 + [REPLY], context_tokens=None)
    async with open_runtime(model) as runtime:
        agent = Agent(runtime, memory_path=tmp_path, system_prompt=PROMPT)
        response = await agent.chat("Look.")
    assert response.left_out == AgentResponse(thoughts="", python_block="", reply="").left_out == LeftOut()
    assert list(model.calls[-1]) == agent.messages[:-1]
    assert "x" * 3000 in agent.messages[3].content


async def batch(where: Path, model: Limited, **config: Any) -> None:
    """Run the batch, or as much of it as the model answers."""
    settings = BatchConfig(**{"system_prompt": PROMPT, "grace_seconds": 0, **config})
    job = Job(id="a", memory=str(where / "memory"), messages=("One.", "Two."))

    async def cancel_when_silent(scope: trio.CancelScope) -> None:
        await model.silent.wait()
        scope.cancel()

    async with open_runtime(model) as runtime, open_helper_nursery() as nursery:
        nursery.start_soon(cancel_when_silent, nursery.cancel_scope)
        await run_batch([job], runtime=runtime, run_dir=where / "run", config=settings)
        nursery.cancel_scope.cancel()


def row_of(where: Path) -> Mapping[str, Any]:
    (row,) = read_rows(where / "run" / CONVERSATIONS)
    return row


async def test_a_run_that_goes_on_leaves_out_the_same(tmp_path: Path) -> None:
    undisturbed = Limited(SCRIPT)
    await batch(tmp_path / "undisturbed", undisturbed)
    expected = row_of(tmp_path / "undisturbed")
    assert expected["left_out"]["results"] >= 2
    for stopped in range(1, len(SCRIPT)):
        where = tmp_path / f"stopped{stopped}"
        first, second = Limited(SCRIPT[:stopped]), Limited(SCRIPT[stopped:])
        await batch(where, first)
        with pytest.raises(RunChangedError, match="context_tokens was 4000 and is 5000"):
            await batch(where, Limited(SCRIPT[stopped:], 5000))
        await batch(where, second)
        assert row_of(where) == expected
        assert first.calls + second.calls == undisturbed.calls


async def test_a_run_tells_the_date_of_its_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Limited(SCRIPT[:2], None), Limited(SCRIPT[2:], None)
    try:
        for zone, model in (("EAST-14", first), ("WEST+12", second)):  # between them it is never the same day
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            await batch(tmp_path, model, system_prompt=None)
    finally:
        monkeypatch.undo()
        time.tzset()
    said = {call[0].content for call in first.calls + second.calls}
    assert len(said) == 1
    assert re.search(r"are kept\.\n\nToday is \w+day, 20[\d-]{8} \(time zone UTC\+14:00, EAST\)\.\n\Z", said.pop())
    row = row_of(tmp_path)
    assert row["prompt"] == prompt_hash(built_in_prompt())  # the same on every day
    with pytest.raises(RunChangedError, match="date was None and is 'none'"):
        await batch(tmp_path, Limited(SCRIPT), system_prompt=None, date="none")


@pytest.mark.parametrize(
    ("config", "end"),
    [
        ({}, "You have notes."),
        ({"date": "Monday"}, "notes.\n\nToday is Monday.\n"),
        ({"date": "none", "system_prompt": None}, "are kept.\n"),
    ],
)
async def test_what_a_run_is_set_to_say(config: dict[str, Any], end: str, tmp_path: Path) -> None:
    model = Limited(SCRIPT, None)
    await batch(tmp_path, model, **config)
    assert model.calls[0][0].content.endswith(end)


async def test_a_run_that_was_begun_without_a_date_goes_on_without(tmp_path: Path) -> None:
    first, second = Limited(SCRIPT[:2], None), Limited(SCRIPT[2:], None)
    await batch(tmp_path, first, system_prompt=None, date="none")
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as journal, journal:
        journal.execute("DELETE FROM meta WHERE key = 'today'")
        journal.execute(
            """UPDATE meta SET value = replace(value, '"date": "none"', '"date": null') WHERE key = 'pins'"""
        )
    await batch(tmp_path, second, system_prompt=None)
    assert {call[0].content for call in second.calls} == {built_in_prompt()}


async def test_an_agent_says_the_date_of_its_day(tmp_path: Path) -> None:
    async with open_runtime(ScriptedModel([])) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        assert agent.messages[0].content.startswith(f"{agent.undated_prompt}\nToday is ")
        assert agent.messages[0].content.endswith(").\n") and "(time zone UTC" in agent.messages[0].content
        own = Agent(runtime, memory_path=tmp_path, system_prompt=PROMPT)
        assert own.messages[0].content == own.undated_prompt == PROMPT
        with pytest.raises(InvalidInputError, match="AgentConfig.date"):
            Agent(runtime, memory_path=tmp_path, date="")
