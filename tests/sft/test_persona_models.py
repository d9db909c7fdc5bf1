"""Persona models: made by factories of either signature, sync or async, spoken with by one rule."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from trioagent import AnswerEnd, ChatMessage, InvalidInputError, ModelProtocolError, TextDelta, Usage
from trioagent.sft import Fact, Flow, ModelPersona, ScriptedPersona
from trioagent.sft._persona_models import Factory, Speaker
from trioagent.testing import ScriptedModel

from .people import CELLO, LIVES, SISTER, persona, persona_body


class Echo:
    async def achat(self, message: str | None = None) -> str:
        return f"heard {message}"


class Sync:
    thread: int | None = None

    def chat(self, message: str | None = None) -> str:
        self.thread = threading.get_ident()
        return f"heard {message}"


def takes_one(persona: object) -> Echo:
    return Echo()


def takes_two(persona: object, facts: object) -> Echo:
    return Echo()


def by_keyword(persona: object, *, facts: object) -> Echo:
    return Echo()


def with_option(persona: object, temperature: float = 0.7) -> Echo:
    assert temperature == 0.7
    return Echo()


def any_names(one: object, other: object) -> Echo:
    return Echo()


async def asynchronous(persona: object, facts: object) -> Echo:
    return Echo()


@pytest.mark.parametrize(
    ("function", "gets_facts"),
    [
        (takes_one, False),
        (with_option, False),
        (takes_two, True),
        (by_keyword, True),
        (any_names, True),
        (asynchronous, True),
        (ScriptedPersona, True),
        (partial(ScriptedPersona, flow="update"), True),
    ],
)
async def test_a_factory_gets_what_it_takes(function: Callable[..., Any], gets_facts: bool) -> None:
    factory = Factory(function)
    assert factory.gets_facts is gets_facts
    assert hasattr(await factory.make(persona(), [LIVES]), "achat")


@pytest.mark.parametrize("function", [None, 3, lambda: Echo(), lambda a, b, c: Echo(), lambda *, persona: Echo()])
def test_no_factory(function: Any) -> None:
    with pytest.raises(InvalidInputError, match="persona_factory: must "):
        Factory(function)


async def test_what_it_makes_must_talk() -> None:
    with pytest.raises(InvalidInputError, match="must give an object with achat or chat, not 'text'"):
        await Factory(lambda persona: "text").make(persona(), [])


def speaker(model: object, opening: str | None = None) -> Speaker:
    return Speaker(model, trio.CapacityLimiter(1), opening)


async def test_the_opening_and_then_the_replies() -> None:
    assert [await (one := speaker(Echo())).say(), await one.say("Hi.")] == ["heard None", "heard Hi."]
    assert [await (one := speaker(Echo(), "Tell.")).say(), await one.say("Hi.")] == ["heard Tell.", "heard Hi."]


@pytest.mark.real
async def test_a_sync_model_runs_in_a_thread() -> None:
    model = Sync()
    assert await speaker(model).say() == "heard None"
    assert model.thread != threading.get_ident()


async def test_only_text_is_said() -> None:
    class Silent:
        async def achat(self, message: str | None = None) -> Any:
            return None

    with pytest.raises(InvalidInputError, match="persona model Silent: must say a text, not None"):
        await speaker(Silent()).say()


async def test_model_persona() -> None:
    model = ScriptedModel(["Hello, I live in Porto.", " I play the cello. "])
    one = speaker(ModelPersona(model, persona_body(), [LIVES, CELLO], num_turns=2))
    assert await one.say() == "Hello, I live in Porto."
    first = one.new_usage()
    assert await one.say("Noted.") == "I play the cello."
    second = one.new_usage()
    assert (first.requests, second.requests) == (1, 1)
    assert second.prompt_tokens > first.prompt_tokens > 100
    assert one.new_usage() == Usage(estimated=True)
    sheet = model.calls[1][0].content
    for words in ("Mara Holt", "34", "Ghent, Belgium", "Ada Holt (sister)", "- I live in Porto.", "at most 2 messages"):
        assert words in sheet
    assert [message.role for message in model.calls[1]] == ["system", "user", "assistant", "user"]
    assert model.calls[1][3].content == "Noted."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<think>Who am I?</think>\nI am Mara.", "I am Mara."),
        ("[THINK]Who am I?[/THINK]I am Mara.", "I am Mara."),
        ("Who am I? The template ate my tag.</think>I am Mara.", "I am Mara."),
    ],
)
async def test_a_personas_thoughts_are_not_said(answer: str, said: str) -> None:
    model = ScriptedModel([answer, "Bye."])
    persona = ModelPersona(model, persona_body(), [LIVES])
    assert await persona.achat() == said
    await persona.achat("Noted.")
    assert model.calls[1][2] == ChatMessage("assistant", said)


@pytest.mark.parametrize(
    ("text", "reason"), [("I live in Por", "length"), ("I", "content_filter"), ("<think>Who am I?", "stop")]
)
async def test_a_persona_says_no_half_message(text: str, reason: str) -> None:
    """It would be in the training data as what a user said; the attempt does not count, and the next one begins."""
    model = ScriptedModel([[TextDelta(text), AnswerEnd(Usage(), reason)]])
    with pytest.raises(ModelProtocolError, match="persona's message was cut") as caught:
        await ModelPersona(model, persona_body(), [LIVES]).achat()
    assert caught.value.finish_reason == reason


async def lines(model: ScriptedPersona) -> list[str]:
    said = []
    while line := await model.achat():
        said.append(line)
    return said


@pytest.mark.parametrize(
    ("flow", "facts", "turns", "expected"),
    [
        (
            "introduce",
            [LIVES, CELLO],
            4,
            [
                "Hello! My name is Mara Holt.",
                "I am 34 years old.",
                "Remember that I live in Porto.",
                "Remember that I play the cello.",
            ],
        ),
        (
            "introduce",
            [LIVES, CELLO, SISTER],
            2,
            [
                "Hello! My name is Mara Holt. Remember that I live in Porto.",
                "Remember that I play the cello. Remember that my sister Ada lives in Rome.",
            ],
        ),
        ("update", [LIVES, CELLO], 4, ["I no longer live in Lisbon. I live in Porto."]),
        (
            "update",
            [
                Fact(fact_description="My dog is Max", previous="My dog is Rex"),
                Fact(fact_description="Ada is 9.", previous="Ada is 8."),
            ],
            4,
            ["My dog is no longer Rex. My dog is Max.", "Ada is 9."],
        ),
        (
            "update",  # the old one still holds
            [Fact(fact_description="I have a dog and a cat.", previous="I have a dog.")],
            4,
            ["I have a dog and a cat."],
        ),
        ("retrieve", [LIVES, SISTER], 4, ["Where do I live?", "Where does my sister live?"]),
    ],
)
async def test_scripts(flow: Flow, facts: list[Fact], turns: int, expected: list[str]) -> None:
    assert await lines(ScriptedPersona(persona_body(), facts, flow=flow, num_turns=turns)) == expected


@pytest.mark.parametrize(
    ("flow", "facts", "words"),
    [
        ("update", ["I fish."], "needs one with `previous`"),
        ("retrieve", ["I fish."], "a scripted persona asks no other"),
    ],
)
def test_facts_that_no_script_can_be_made_of(flow: Flow, facts: list[str], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        ScriptedPersona(persona_body(), facts, flow=flow)
