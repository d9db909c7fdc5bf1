"""Personas and facts: the simulated user of a conversation, read from whatever has the right fields."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import attrs

from .._errors import InvalidInputError
from .._runs import short, text_problem

T = TypeVar("T", bound=attrs.AttrsInstance)

_OLDEST = 130


def _text(value: object, where: str) -> str:
    if problem := text_problem(value):
        raise InvalidInputError(where, problem)
    return str(value)


def _optional_text(value: object, where: str) -> str:
    return "" if value is None or value == "" else _text(value, where)


def _age(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _OLDEST:
        raise InvalidInputError(where, f"must be a whole number from 0 to {_OLDEST}, not {short(value)}")
    return value


def _birthplace(value: object, where: str) -> Birthplace:
    return _record(Birthplace, value, where)


@attrs.frozen(kw_only=True)
class Birthplace:
    """Where a persona was born."""

    city: str = attrs.field(metadata={"read": _text})
    country: str = attrs.field(metadata={"read": _text})


@attrs.frozen(kw_only=True)
class Relationship:
    """Somebody a persona knows, and what they are to the persona ("sister", "colleague")."""

    name_surname: str = attrs.field(metadata={"read": _text})
    relationship: str = attrs.field(metadata={"read": _text})


def _relationships(value: object, where: str) -> tuple[Relationship, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError(where, f"must be a list, not {short(value)}")
    return tuple(_record(Relationship, item, f"{where}[{index}]") for index, item in enumerate(value))


@attrs.frozen(kw_only=True)
class Persona:
    """The simulated user of a conversation."""

    name_surname: str = attrs.field(metadata={"read": _text})
    age: int = attrs.field(metadata={"read": _age})
    gender: str = attrs.field(metadata={"read": _text})
    birthplace: Birthplace = attrs.field(metadata={"read": _birthplace})
    occupation: str = attrs.field(metadata={"read": _text})
    detailed_backstory: str = attrs.field(metadata={"read": _text})
    relationships: tuple[Relationship, ...] = attrs.field(metadata={"read": _relationships})


@attrs.frozen(kw_only=True)
class Fact:
    """Something that is true of a persona.

    Attributes:
        fact_description: a sentence, such as "I live in Porto."
        previous: flow "update": what held before, and is in the notes; "" for a fact that does not change.
        question: flow "retrieve": how the persona may ask for it.
        answer: flow "retrieve": what the reply must say, if that is not the whole fact.
    """

    fact_description: str = attrs.field(metadata={"read": _text})
    previous: str = attrs.field(metadata={"read": _optional_text}, default="")
    question: str = attrs.field(metadata={"read": _optional_text}, default="")
    answer: str = attrs.field(metadata={"read": _optional_text}, default="")


def read_persona(value: object, where: str = "persona") -> Persona:
    """A `Persona` from an object of any class (attrs, dataclass, pydantic) or a mapping with the same fields.

    Raises:
        InvalidInputError: a field is unknown, missing or of the wrong kind; *where* and the field are named.
    """
    return _record(Persona, value, where)


def read_facts(value: object, where: str = "facts") -> tuple[Fact, ...]:
    """The facts of one persona; each may be a text, too.

    Raises:
        InvalidInputError: as `read_persona`, and if there is none.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InvalidInputError(where, f"must be a list of facts, not {short(value)}")
    if not value:
        raise InvalidInputError(where, "is empty; a conversation needs at least one fact")
    return tuple(
        Fact(fact_description=_text(item, f"{where}[{index}]"))
        if isinstance(item, str)
        else _record(Fact, item, f"{where}[{index}]")
        for index, item in enumerate(value)
    )


def digest(*values: object) -> str:
    """A hash of personas, facts, or plain JSON."""
    plain = [attrs.asdict(value) if isinstance(value, Persona | Fact) else value for value in values]
    return hashlib.sha256(json.dumps(plain, ensure_ascii=True, sort_keys=True).encode()).hexdigest()[:32]


def _record(cls: type[T], value: object, where: str) -> T:
    fields = attrs.fields_dict(cls)
    body = _as_mapping(cls, value, where, fields)
    if unknown := [name for name in body if name not in fields]:
        raise InvalidInputError(where, f"has {_listed('the unknown field', unknown)}; {_meant(unknown[0], fields)}")
    if missing := [name for name, field in fields.items() if name not in body and field.default is attrs.NOTHING]:
        raise InvalidInputError(where, f"lacks {_listed('the field', missing)}")
    read = {name: fields[name].metadata["read"](item, f"{where}.{name}") for name, item in body.items()}
    return cls(**read)


def _as_mapping(cls: type, value: object, where: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):  # a pydantic model
        return dict(dump())
    raise InvalidInputError(
        where, f"must be a {cls.__name__}, or have its fields ({', '.join(fields)}), not {short(value)}"
    )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"


def _meant(name: str, fields: Mapping[str, Any]) -> str:
    near = get_close_matches(name.casefold(), fields, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(fields)}"
