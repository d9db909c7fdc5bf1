"""`complete`: what the model is told, what is taken for an answer, and what happens when it will not do."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pydantic
import pytest
from trio.testing import MockClock

import trioagent
from tests.models.structured_classes import ADA, GOOD, Mood, Person, Place, Verdict
from tests.models.support import model_before, serving
from trioagent import ChatMessage, Completion, InvalidInputError, StructuredOutputError, complete
from trioagent.models import AnswerEnd, Retrying, TextDelta
from trioagent.models._schema import schema_of
from trioagent.testing import Say, ScriptedModel, cancel_at_every_checkpoint

ASK = [ChatMessage("system", "You know people."), ChatMessage("user", "Who is Ada?")]


async def ask(*answers: str, repairs: int = 2) -> Completion[Person]:
    return await complete(ScriptedModel(answers), ASK, schema=Person, repairs=repairs)


async def test_without_a_schema_the_text_is_the_value() -> None:
    model = ScriptedModel(["<think>hm</think>Ada."], chunk=3)
    done = await complete(model, ASK)
    assert (done.value, done.text, done.attempts) == ("<think>hm</think>Ada.", "<think>hm</think>Ada.", 1)
    assert done.usage.requests == 1
    assert model.calls == [tuple(ASK)]


async def test_a_repeated_attempt_voids_the_text_before_it() -> None:
    failed = Retrying(trioagent.ModelConnectionError("http://x", "gone"), 0.0, 1)
    end = AnswerEnd(trioagent.Usage(prompt_tokens=5, requests=2), "stop")
    done = await complete(ScriptedModel([[TextDelta("half"), failed, TextDelta("whole"), end]]), ASK)
    assert (done.value, done.usage.requests) == ("whole", 2)


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "  {}\n",
        "Sure! Here it is:\n```json\n{}\n```\nAnything else?",
        '<think>Perhaps {{"name": "Bob"}}?</think>\n{}',
        'no opening tag {{"name": 1}} </think> {}',
        "<think>only thoughts, and {}",
        "<think>{}</think>",
        'An example: {{"name": "…", "age": 0}}. The answer: {}',
        "{} As you see, {{braces}} and {{}} do not matter.",
        "<reply>{}</reply>",
    ],
)
async def test_what_stands_around_the_json_does_not_matter(around: str) -> None:
    text = around.replace("{{", "\0").replace("}}", "\1").replace("{}", json.dumps(GOOD))
    done = await ask(text.replace("\0", "{").replace("\1", "}"))
    assert (done.value, done.attempts) == (ADA, 1)


async def test_tags_inside_a_text_of_the_json_are_text() -> None:
    done = await ask(json.dumps({**GOOD, "name": 'a </think> {"name": 1}'}))
    assert done.value.name == 'a </think> {"name": 1}'


async def test_a_part_of_a_broken_object_is_not_taken_for_the_answer() -> None:
    broken = '{"people": [' + json.dumps(GOOD)
    with pytest.raises(StructuredOutputError, match="its JSON is broken: Expecting ',' delimiter"):
        await ask(broken, repairs=0)


async def test_everything_an_attrs_class_may_hold() -> None:
    rich = {
        **GOOD,
        "height": 1,
        "sort": 1,
        "mood": "bad",
        "tags": ["a", "b"],
        "point": [3, "x"],
        "children": [{**GOOD, "name": "Byron", "home": {"city": "Ockham", "zip": 7}}],
        "notes": {"a": 1, "b": "two"},
        "hidden": [None, 2],
    }
    value = (await ask(json.dumps(rich))).value
    child = Person("Byron", 36, False, Place("Ockham", 7))
    assert value == Person(
        *("Ada Byron", 36, False, Place("London"), 1.0, 1, Mood.BAD, frozenset("ab"), (3, "x"), [child]),
        notes={"a": 1, "b": "two"},
        hidden=[None, 2.0],
    )
    assert type(value.height) is float


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": 5}, "$.name: expected a string, not 5"),
        ({"age": 36.0}, "$.age: expected an integer, not 36.0"),
        ({"age": True}, "$.age: expected an integer, not true"),
        ({"age": "36"}, '$.age: expected an integer, not "36"'),
        ({"age": -1}, "$: 'age' must be >= 0: -1"),
        ({"alive": "no"}, '$.alive: expected true or false, not "no"'),
        ({"alive": 0}, "$.alive: expected true or false, not 0"),
        ({"home": "London"}, '$.home: expected an object, not "London"'),
        ({"home": {}}, "$.home.city: is missing"),
        ({"home": {"city": "x", "zip": "7"}}, '$.home.zip: expected an integer or null, not "7"'),
        ({"height": True}, "$.height: expected a number, not true"),
        ({"height": 10**400}, "$.height: expected a number, not 1000"),
        ({"sort": True}, '$.sort: expected one of "person", 1, not true'),
        ({"mood": "GOOD"}, '$.mood: expected one of "good", "bad", not "GOOD"'),
        ({"tags": "ab"}, '$.tags: expected a list, not "ab"'),
        ({"tags": ["a", "a"]}, "$.tags: has an item twice"),
        ({"point": [1]}, "$.point: expected a list of 2, not [1]"),
        ({"point": ["1", "x"]}, '$.point[0]: expected an integer, not "1"'),
        ({"children": [GOOD, {**GOOD, "age": None}]}, "$.children[1].age: expected an integer, not null"),
        ({"notes": {"a": [1]}}, '$.notes["a"]: expected an integer or a string, not [1]'),
        ({"surname": "x"}, '$: has the unknown member "surname"; it may have name, age'),
        ({"_hidden": []}, '$: has the unknown member "_hidden"'),
    ],
)
async def test_nothing_is_coerced_and_each_problem_has_its_place(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        await ask(json.dumps({**GOOD, **change}), repairs=0)
    (told,) = caught.value.problems
    assert told.startswith(problem)
    assert len(told) <= 300


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it holds no JSON"),
        ("I would rather not.", "it holds no JSON"),
        ('{"name": "Ada', "its JSON is broken: Unterminated string"),
        ('{"name": NaN}', "its JSON is broken: NaN is not JSON"),
        ('{"a":' * 100_000, "its JSON is nested too deeply"),
        ('{"name": "\\ud800"}', "a text in it holds a lone surrogate"),
        ("[1, 2]", "$: expected an object, not [1, 2]"),
        ('{"age": ' + "9" * 5000 + "}", "its JSON is broken: Exceeds the limit"),
    ],
)
async def test_what_is_no_json_is_said(text: str, problem: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        await ask(text, repairs=0)
    assert caught.value.problems[0].startswith(problem)


async def test_the_model_is_told_the_schema_behind_the_system_messages() -> None:
    model = ScriptedModel([json.dumps(GOOD)])
    await complete(model, ASK, schema=Person)
    first, told, last = model.calls[0]
    assert (first, last) == tuple(ASK)
    schema = json.loads(told.content.partition("schema:\n")[2])
    person = schema["$defs"]["Person"]
    assert told.role == "system"
    assert schema["$ref"] == "#/$defs/Person"
    assert person["description"] == "What is known of somebody."
    assert person["required"] == ["name", "age", "alive", "home"]
    assert person["additionalProperties"] is False
    assert person["properties"]["name"] == {"type": "string", "description": "first and last name"}
    assert person["properties"]["age"] == {"type": "integer", "description": "in years"}
    assert person["properties"]["mood"] == {"enum": ["good", "bad"], "default": "good"}
    assert person["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/Person"}}
    assert person["properties"]["hidden"]["items"] == {"anyOf": [{"type": "null"}, {"type": "number"}]}
    assert schema["$defs"]["Place"]["properties"]["zip"]["default"] is None
    assert schema_of(Place).json_schema["type"] == "object"


async def test_a_bad_answer_is_sent_back_with_what_is_wrong() -> None:
    bad = json.dumps({**GOOD, "age": "old", "alive": "no"})
    model = ScriptedModel([bad, "no idea", json.dumps(GOOD)])
    done = await complete(model, ASK, schema=Person)
    assert (done.value, done.attempts) == (ADA, 3)
    assert done.usage.requests == 3
    assert done.usage.prompt_tokens > 2 * done.usage.completion_tokens > 0
    second, third = model.calls[1:]
    assert second[:3] == third[:3] == model.calls[0]
    assert second[3] == ChatMessage("assistant", bad)
    assert '- $.age: expected an integer, not "old"\n- $.alive: expected true or false' in second[4].content
    assert [message.content for message in third[3:4]] == ["no idea"]
    assert len(second) == len(third) == 5


async def test_after_the_last_repair_a_typed_error_says_all() -> None:
    with pytest.raises(StructuredOutputError) as caught:
        await ask("x" * 500, '{"name": 1}', "", repairs=2)
    error = caught.value
    assert (error.schema, error.attempts, error.excerpt) == ("Person", 3, "")
    assert error.problems == ("it holds no JSON",)
    assert error.usage.requests == 3
    assert isinstance(error, trioagent.ModelError)
    assert "no answer of the model is a valid Person, in 3 attempts: it holds no JSON" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.args, str(copy), copy.attempts, copy.usage) == (error.args, str(error), 3, error.usage)


@pytest.mark.parametrize("goes_on", ['</think>\n{"name": "Ad', "\nBut no: ", "```\nAnd so"])
async def test_json_before_a_cut_is_not_the_answer(goes_on: str) -> None:
    """It is what the model thought of, or an example; the answer was yet to come."""
    thought = json.dumps(GOOD) + goes_on
    end = AnswerEnd(trioagent.Usage(), "length")
    model = ScriptedModel([[TextDelta(thought), end], json.dumps({**GOOD, "name": "Bea"})])
    done = await complete(model, ASK, schema=Person)
    assert (done.value.name, done.attempts) == ("Bea", 2)
    assert "cut off" in model.calls[1][-1].content
    whole = ScriptedModel([[TextDelta(json.dumps(GOOD) + "\n```\n"), end]])
    assert (await complete(whole, ASK, schema=Person)).value == ADA


async def test_an_answer_that_was_cut_off_is_called_so() -> None:
    end = AnswerEnd(trioagent.Usage(requests=1), "length")
    model = ScriptedModel([[TextDelta('{"name": "A'), end], json.dumps(GOOD)])
    assert (await complete(model, ASK, schema=Person)).value == ADA
    assert "cut off" in model.calls[1][-1].content
    assert model.calls[1][-2].content == '{"name": "A'


async def test_pydantic_models_are_strict_too() -> None:
    model = ScriptedModel(['{"fits": "yes", "score": "1"}', 'So: {"fits": true, "score": 1, "mood": "bad"}'])
    done = await complete(model, ASK, schema=Verdict)
    assert done.value == Verdict(fits=True, score=1.0, mood=Mood.BAD)
    assert "A judge's word." in model.calls[0][1].content
    assert "- $.fits: Input should be a valid boolean\n- $.score: Input should be a valid number" in (
        model.calls[1][-1].content
    )


async def test_a_pydantic_root_may_be_a_list() -> None:
    class Names(pydantic.RootModel[list[str]]):
        pass

    done = await complete(ScriptedModel(['They are ["a", "b"].']), ASK, schema=Names)
    assert done.value.root == ["a", "b"]


async def test_nothing_to_ask_and_a_bad_number_of_repairs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="messages"):
        await complete(ScriptedModel([]), [])
    for repairs in (-1, True, 1.5):
        with pytest.raises(InvalidInputError, match="repairs"):
            await complete(ScriptedModel([]), ASK, schema=Person, repairs=repairs)  # type: ignore[arg-type]


async def test_cancelled_anywhere_it_stops_there(autojump_clock: MockClock) -> None:
    async def once() -> None:
        await complete(ScriptedModel(["no", json.dumps(GOOD)], delay=1), ASK, schema=Person)

    await cancel_at_every_checkpoint(once)


@pytest.mark.real
async def test_over_a_real_server() -> None:
    async with serving([Say("Hm.", usage=(10, 2)), Say(json.dumps(GOOD), chunk=7, usage=(30, 40))]) as server:
        async with model_before(server) as model:
            done = await complete(model, ASK, schema=Person)
    assert (done.value, done.attempts) == (ADA, 2)
    assert done.usage == trioagent.Usage(prompt_tokens=40, completion_tokens=42, requests=2)
    roles = [message["role"] for message in server.requests[1].messages]
    assert roles == ["system", "user", "assistant", "user"]  # neighbours of one role go as one message
