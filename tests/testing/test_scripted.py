"""The scripted model, beyond the contract that all models share."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioagent._errors import ModelConnectionError
from trioagent._messages import ChatMessage, Usage
from trioagent.models import AnswerEnd, AnswerPart, Model, Retrying, TextDelta
from trioagent.testing import ScriptedModel

ASK = [ChatMessage("user", "hello")]


async def collect(model: Model) -> list[AnswerPart]:
    async with model.answer(ASK) as parts:
        return [part async for part in parts]


async def test_text_is_cut_and_calls_are_recorded() -> None:
    model = ScriptedModel(["abcde"], chunk=2, name="toy")
    end = AnswerEnd(Usage.estimate(ASK, 5), "stop")
    assert await collect(model) == [TextDelta("ab"), TextDelta("cd"), TextDelta("e"), end]
    assert model.calls == [tuple(ASK)]
    assert model.name == "toy"


async def test_functions_answer_from_the_messages() -> None:
    model = ScriptedModel([lambda messages: f"you said {messages[-1].content}", "then this"], chunk=99)
    assert (await collect(model))[0] == TextDelta("you said hello")
    assert (await collect(model))[0] == TextDelta("then this")
    echo = ScriptedModel(lambda messages: messages[-1].content)
    for _ in range(3):
        assert (await collect(echo))[0] == TextDelta("hello")


async def test_a_script_that_has_run_out_says_so() -> None:
    model = ScriptedModel(["one"])
    await collect(model)
    with pytest.raises(AssertionError, match=r"no answer for request 2.*hello"):
        await collect(model)


async def test_delays_and_parts_as_they_are(autojump_clock: MockClock) -> None:
    error = ModelConnectionError("http://x", "broke")
    parts: list[AnswerPart] = [
        TextDelta("no"),
        Retrying(error, 5.0, 1),
        TextDelta("yes"),
        AnswerEnd(Usage(requests=2), "stop"),
    ]
    start = trio.current_time()
    assert await collect(ScriptedModel([parts], delay=2.0)) == parts
    assert trio.current_time() - start == 7.0


async def test_exceptions_are_raised_as_they_are() -> None:
    error = ModelConnectionError("http://x", "broke")
    with pytest.raises(ModelConnectionError) as caught:
        await collect(ScriptedModel([error]))
    assert caught.value is error
