"""The kinds of JSON that a type may allow: each a schema, and the strict check that goes with it."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError

Read = Callable[[Any, str, list[str]], Any]

SCALARS = (str, int, float, bool, type(None))
_VALUE_CHARS = 80


@attrs.frozen
class Shape:
    """What JSON a type allows.

    Attributes:
        name: what it is called before people and models.
        schema: its JSON schema.
        read: ``read(value, path, problems)`` gives the structured value, or adds what is wrong with it to *problems*,
            each with its path; then what it returns means nothing.
    """

    name: str
    schema: dict[str, Any]
    read: Read


def _scalar(name: str, schema_type: str, fits: Callable[[Any], bool], make: Callable[[Any], Any]) -> Shape:
    def read(value: Any, path: str, problems: list[str]) -> Any:
        return make(value) if fits(value) else miss(name, value, path, problems)

    return Shape(name, {"type": schema_type}, read)


def _is_float(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is float and math.isfinite(value)


SCALAR_SHAPES: dict[Any, Shape] = {
    str: _scalar("a string", "string", lambda value: isinstance(value, str), str),
    int: _scalar("an integer", "integer", lambda value: type(value) is int, int),
    float: _scalar("a number", "number", _is_float, float),
    bool: _scalar("true or false", "boolean", lambda value: isinstance(value, bool), bool),
    None: _scalar("null", "null", lambda value: value is None, lambda value: None),
}
SCALAR_SHAPES[type(None)] = SCALAR_SHAPES[None]


def one_of(meanings: Sequence[tuple[Any, Any]], where: str) -> Shape:
    """Each of the JSON values allowed, with what it means."""
    for value, _ in meanings:
        if not isinstance(value, SCALARS) or isinstance(value, enum.Enum):
            raise InvalidInputError("schema", f"{where} allows {value!r}, which has no form in JSON")
    name = "one of " + ", ".join(show(value) for value, _ in meanings)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        for allowed, meaning in meanings:
            if type(value) is type(allowed) and value == allowed:  # True == 1
                return meaning
        return miss(name, value, path, problems)

    return Shape(name, {"enum": [value for value, _ in meanings]}, read)


def union(members: Sequence[Shape]) -> Shape:
    name = " or ".join(member.name for member in members)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        closest: list[str] | None = None
        for member in members:
            found: list[str] = []
            result = member.read(value, path, found)
            if not found:
                return result
            if any(not problem.startswith(f"{path}: expected ") for problem in found):
                closest = closest or found  # the right kind of value, wrong inside
        if closest is None:
            return miss(name, value, path, problems)
        problems.extend(closest)
        return None

    return Shape(name, {"anyOf": [member.schema for member in members]}, read)


def array(kind: type, item: Shape) -> Shape:
    unique = kind in (set, frozenset)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, list):
            return miss("a list", value, path, problems)
        before = len(problems)
        items = [item.read(each, f"{path}[{number}]", problems) for number, each in enumerate(value)]
        if len(problems) > before:
            return None
        try:
            result = kind(items)
        except TypeError:  # not hashable
            return miss("a list of plain values", value, path, problems)
        if unique and len(result) < len(items):
            problems.append(f"{path}: has an item twice")
        return result

    schema = {"type": "array", "items": item.schema, **({"uniqueItems": True} if unique else {})}
    return Shape("a list", schema, read)


def fixed_list(members: Sequence[Shape]) -> Shape:
    number = len(members)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, list) or len(value) != number:
            return miss(f"a list of {number}", value, path, problems)
        return tuple(
            member.read(each, f"{path}[{place}]", problems)
            for place, (member, each) in enumerate(zip(members, value, strict=True))
        )

    prefix = {"prefixItems": [member.schema for member in members]} if members else {}
    return Shape(f"a list of {number}", {"type": "array", **prefix, "minItems": number, "maxItems": number}, read)


def mapping(item: Shape) -> Shape:
    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, dict):
            return miss("an object", value, path, problems)
        return {key: item.read(each, f"{path}[{show(key)}]", problems) for key, each in value.items()}

    return Shape("an object", {"type": "object", "additionalProperties": item.schema}, read)


def described(shape: Shape, words: str) -> Shape:
    return attrs.evolve(shape, schema={**shape.schema, "description": words}) if words else shape


def miss(expected: str, value: Any, path: str, problems: list[str]) -> None:
    problems.append(f"{path}: expected {expected}, not {show(value)}")


def show(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 1] + "…"


def dumps(value: Any) -> str:
    return json.dumps(value)
