"""Personas and facts are read from anything with the right fields, and from nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import attrs
import pydantic
import pytest

from trioagent import InvalidInputError
from trioagent.sft import Birthplace, Fact, Persona, Relationship, read_facts, read_persona

from .people import persona, persona_body


class PydanticPlace(pydantic.BaseModel):
    city: str
    country: str


class PydanticSomeone(pydantic.BaseModel):
    name_surname: str
    relationship: str


class PydanticPersona(pydantic.BaseModel):
    name_surname: str
    age: int
    gender: str
    birthplace: PydanticPlace
    occupation: str
    detailed_backstory: str
    relationships: list[PydanticSomeone]


class PydanticFact(pydantic.BaseModel):
    fact_description: str
    previous: str | None = None


@dataclasses.dataclass
class PlainPlace:
    city: str
    country: str


@attrs.define
class OtherPersona:
    name_surname: str
    age: int
    gender: str
    birthplace: Any
    occupation: str
    detailed_backstory: str
    relationships: Any


def test_every_kind_of_object_is_the_same_persona() -> None:
    expected = Persona(
        name_surname="Mara Holt",
        age=34,
        gender="female",
        birthplace=Birthplace(city="Ghent", country="Belgium"),
        occupation="baker",
        detailed_backstory="Left a bank to open a bakery.",
        relationships=(Relationship(name_surname="Ada Holt", relationship="sister"),),
    )
    body = persona_body()
    kinds = [
        body,
        expected,
        PydanticPersona(**body),
        OtherPersona(**{**body, "birthplace": PlainPlace("Ghent", "Belgium")}),
        {**body, "relationships": [Relationship(name_surname="Ada Holt", relationship="sister")]},
    ]
    assert [read_persona(kind) for kind in kinds] == [expected] * len(kinds)


def test_every_kind_of_fact() -> None:
    expected = Fact(fact_description="I fish.")
    assert (
        read_facts(["I fish.", expected, {"fact_description": "I fish."}, PydanticFact(fact_description="I fish.")])
        == (expected,) * 4
    )


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ({"name_surnam": "x"}, "personas[2]", "unknown field 'name_surnam'; did you mean 'name_surname'?"),
        ({"zodiac": "x", "car": "y"}, "personas[2]", "unknown fields 'zodiac', 'car'; there are name_surname, age"),
        ({"age": None}, "personas[2].age", "whole number"),
        ({"age": True}, "personas[2].age", "not True"),
        ({"age": "34"}, "personas[2].age", "not '34'"),
        ({"age": -1}, "personas[2].age", "not -1"),
        ({"gender": " "}, "personas[2].gender", "text that is not empty"),
        ({"occupation": "a\0b"}, "personas[2].occupation", "holds a character that no file can (NUL"),
        ({"birthplace": "Ghent"}, "personas[2].birthplace", "must be a Birthplace, or have its fields (city, country)"),
        ({"birthplace": {"city": "Ghent"}}, "personas[2].birthplace", "lacks the field 'country'"),
        ({"relationships": {}}, "personas[2].relationships", "must be a list"),
        (
            {"relationships": [{"name_surname": "A", "relation": "b"}]},
            "personas[2].relationships[0]",
            "'relation'; did you mean 'relationship'?",
        ),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_persona({**persona_body(), **change}, "personas[2]")
    assert caught.value.what == where
    assert words in caught.value.problem


@pytest.mark.parametrize("field", attrs.fields_dict(Persona))
def test_every_field_is_needed(field: str) -> None:
    body = persona_body()
    del body[field]
    with pytest.raises(InvalidInputError, match=f"lacks the field '{field}'"):
        read_persona(body)


@pytest.mark.parametrize("value", [3, None, "Mara", [1], Persona])
def test_no_persona_at_all(value: object) -> None:
    with pytest.raises(InvalidInputError, match="must be a Persona"):
        read_persona(value)


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ([], "facts"),
        ("I fish.", "facts"),
        (None, "facts"),
        ([""], "facts[0]"),
        (["I fish.", 7], "facts[1]"),
        ([{"fact": "I fish."}], "facts[0]"),
        ([{"fact_description": "I fish.", "previous": 3}], "facts[0].previous"),
    ],
)
def test_facts_that_cannot_be_used(facts: object, where: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_facts(facts)
    assert caught.value.what == where


def test_a_persona_is_what_it_says() -> None:
    assert persona() == persona()
    assert persona("Jon Reyes") != persona()
