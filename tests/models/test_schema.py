"""Structured output: which classes can be a schema, and any text that a model may answer."""

from __future__ import annotations

import enum
import json
from typing import Any, Literal

import attrs
import pydantic
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.structured_classes import GOOD, Mood, Person, Place, Verdict
from trioagent import ChatMessage, InvalidInputError, complete
from trioagent.models._json_in_text import find_json
from trioagent.models._schema import schema_of
from trioagent.models._structured_output import read_answer
from trioagent.testing import ScriptedModel

from ..examples import examples

ASK = [ChatMessage("user", "Who is Ada?")]


@attrs.frozen
class HoldsBytes:
    data: bytes


@attrs.define
class Untyped:
    data = attrs.field()  # type: ignore[var-annotated]


class Socket(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    it: trio.Event


@attrs.frozen
class NamesNobody:
    who: Nobody  # type: ignore[name-defined]  # noqa: F821


@attrs.frozen
class NumberKeys:
    table: dict[int, str]


@attrs.frozen
class BytesLiteral:
    which: Literal[b"x"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (HoldsBytes, "HoldsBytes.data has the type <class 'bytes'>"),
        (Untyped, "Untyped.data has no type"),
        (NamesNobody, "a type in NamesNobody cannot be found"),
        (NumberKeys, "NumberKeys.table has the type dict"),
        (BytesLiteral, "BytesLiteral.which allows b'x'"),
        (Socket, "Socket has no JSON schema"),
        (dict, "dict is neither"),
        ({"type": "object"}, "must be an attrs class or a pydantic model class, not {'type'"),
    ],
)
async def test_what_cannot_be_a_schema_is_refused_before_any_request(schema: Any, words: str) -> None:
    model = ScriptedModel([])
    with pytest.raises(InvalidInputError) as caught:
        await complete(model, ASK, schema=schema)
    assert words in str(caught.value)
    assert model.calls == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(JSON | st.dictionaries(st.sampled_from([field.alias for field in attrs.fields(Person)]), JSON))
@settings(max_examples=examples(50))
def test_any_json_is_read_or_refused_with_reasons(value: Any) -> None:
    for shape in (schema_of(Person), schema_of(Verdict)):
        result, problems = read_answer(json.dumps(value), shape)
        assert isinstance(result, Person | Verdict) != bool(problems)
        assert all(problems)


@given(st.text(st.sampled_from('{}[]":,\\ 1aename<>/think')))
@settings(max_examples=examples(50))
def test_any_text_is_searched_without_an_error(text: str) -> None:
    found = find_json(text)
    assert bool(found.values) != bool(found.problem)


TEXT = st.text(st.characters(codec="utf-8"))
PLACES = st.builds(Place, TEXT, st.none() | st.integers())


@given(
    st.builds(
        Person,
        name=TEXT,
        age=st.integers(0),
        alive=st.booleans(),
        home=PLACES,
        height=st.floats(allow_nan=False, allow_infinity=False),
        sort=st.sampled_from(["person", 1]),
        mood=st.sampled_from(Mood),
        tags=st.frozensets(TEXT, max_size=3),
        notes=st.dictionaries(TEXT, st.integers() | TEXT, max_size=3),
    ),
    st.sampled_from(["", "Well: ", "```json\n", "<think>{}</think>"]),
)
@settings(max_examples=examples(33))
def test_an_instance_comes_back_from_its_json(person: Person, before: str) -> None:
    def plain(instance: type, field: Any, value: Any) -> Any:
        return value.value if isinstance(value, enum.Enum) else list(value) if isinstance(value, frozenset) else value

    members = attrs.asdict(person, value_serializer=plain)
    members["hidden"] = members.pop("_hidden")
    assert read_answer(before + json.dumps(members), schema_of(Person)) == (person, ())


def test_hostile_texts_of_a_megabyte_are_searched_in_a_bounded_number_of_steps() -> None:
    for text in ("{" * 10**6, '{"a":' * 200_000, '{"a' * 300_000, "</think" * 150_000, '[{"a": "' + "{" * 10**6):
        assert find_json(text).problem  # quadratic searches took minutes for each of these
