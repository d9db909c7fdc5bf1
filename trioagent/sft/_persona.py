"""Personas and facts: the simulated user of a conversation, read from any object with the right fields."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError
from .._wire import read_value, short, strict_converter, text_problem

_OLDEST = 130
_NULLABLE = ("previous", "question", "answer")  # other libraries' objects have None for a missing value


def _text(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if problem := text_problem(value):
        raise InvalidInputError(attribute.name, problem)


def _optional_text(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value != "":
        _text(instance, attribute, value)


def _age(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or not 0 <= value <= _OLDEST:
        raise InvalidInputError(attribute.name, f"must be a whole number from 0 to {_OLDEST}, not {short(value)}")


@attrs.frozen(kw_only=True)
class Birthplace:
    """Where a persona was born."""

    city: str = attrs.field(validator=_text)
    country: str = attrs.field(validator=_text)


@attrs.frozen(kw_only=True)
class Relationship:
    """A person whom the persona knows, and their relation to the persona ("sister", "colleague")."""

    name_surname: str = attrs.field(validator=_text)
    relationship: str = attrs.field(validator=_text)


@attrs.frozen(kw_only=True)
class Persona:
    """The simulated user of a conversation."""

    name_surname: str = attrs.field(validator=_text)
    age: int = attrs.field(validator=_age)
    gender: str = attrs.field(validator=_text)
    birthplace: Birthplace
    occupation: str = attrs.field(validator=_text)
    detailed_backstory: str = attrs.field(validator=_text)
    relationships: tuple[Relationship, ...]


@attrs.frozen(kw_only=True)
class Fact:
    """A fact about a persona.

    Attributes:
        fact_description: a sentence, such as "I live in Porto."
        previous: flow "update": what was true before, and is in the notes; "" for a fact that does not change.
        question: flow "retrieve": how the persona may ask for it.
        answer: flow "retrieve": what the reply must say, if that is not the whole fact.
    """

    fact_description: str = attrs.field(validator=_text)
    previous: str = attrs.field(validator=_optional_text, default="")
    question: str = attrs.field(validator=_optional_text, default="")
    answer: str = attrs.field(validator=_optional_text, default="")


def read_persona(value: object, where: str = "persona") -> Persona:
    """A `Persona` from an object of any class (attrs, dataclass, pydantic) or a mapping with the same fields.

    Raises:
        InvalidInputError: a field is unknown, missing or of the wrong type; *where* and the field are named.
    """
    return read_value(_converter, value, Persona, where)


def read_facts(value: object, where: str = "facts") -> tuple[Fact, ...]:
    """The facts of one persona; each may be a text, too.

    Raises:
        InvalidInputError: as `read_persona`, and if there is none.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InvalidInputError(where, f"must be a list of facts, not {short(value)}")
    if not value:
        raise InvalidInputError(where, "is empty; a conversation needs at least one fact")
    return tuple(_fact(item, f"{where}[{index}]") for index, item in enumerate(value))


def _fact(value: object, where: str) -> Fact:
    if not isinstance(value, str):
        return read_value(_converter, value, Fact, where)
    if problem := text_problem(value):
        raise InvalidInputError(where, problem)
    return Fact(fact_description=value)


def digest(*values: object) -> str:
    """A hash of personas, facts, or plain JSON."""
    plain = [attrs.asdict(value) if isinstance(value, Persona | Fact) else value for value in values]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=True, sort_keys=True).encode()).hexdigest()[:32]


def _fields_of(value: object) -> Mapping[str, Any] | None:
    """The fields of a mapping or of an object of any class; None if it has none."""
    if isinstance(value, Mapping):
        found = {str(name): item for name, item in value.items()}
    elif attrs.has(type(value)):
        found = {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}  # type: ignore[attr-defined]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):  # a pydantic model
        found = dict(dump())
    else:
        return None
    return {name: item for name, item in found.items() if item is not None or name not in _NULLABLE}


_converter = strict_converter(_fields_of)
