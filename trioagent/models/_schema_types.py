"""Building blocks of schemas: for each kind of type its JSON schema and its validation."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError

Read = Callable[[Any, str, list[str]], Any]

SCALARS = (str, int, float, bool, type(None))
_VALUE_CHARS = 80


@attrs.frozen
class Schema:
    """The JSON values that a type accepts.

    Attributes:
        name: for messages to people and models.
        json_schema: the JSON schema.
        read: ``read(value, path, problems)`` returns the structured value; or it appends what is wrong to *problems*,
            each with its path, and the returned value is undefined.
    """

    name: str
    json_schema: dict[str, Any]
    read: Read


def _scalar(name: str, schema_type: str, fits: Callable[[Any], bool], make: Callable[[Any], Any]) -> Schema:
    def read(value: Any, path: str, problems: list[str]) -> Any:
        return make(value) if fits(value) else mismatch(name, value, path, problems)

    return Schema(name, {"type": schema_type}, read)


def _is_float(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is float and math.isfinite(value)


_NULL = _scalar("null", "null", lambda value: value is None, lambda value: None)
SCALAR_SCHEMAS: Mapping[Any, Schema] = {
    str: _scalar("a string", "string", lambda value: isinstance(value, str), str),
    int: _scalar("an integer", "integer", lambda value: type(value) is int, int),
    float: _scalar("a number", "number", _is_float, float),
    bool: _scalar("true or false", "boolean", lambda value: isinstance(value, bool), bool),
    None: _NULL,
    type(None): _NULL,
}


def one_of(meanings: Sequence[tuple[Any, Any]], where: str) -> Schema:
    """One of several constants; *meanings* pairs each JSON value with its Python value."""
    for value, _ in meanings:
        if not isinstance(value, SCALARS) or isinstance(value, enum.Enum):
            raise InvalidInputError("schema", f"{where} allows {value!r}, which cannot be represented in JSON")
    name = "one of " + ", ".join(show(value) for value, _ in meanings)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        for allowed, meaning in meanings:
            if type(value) is type(allowed) and value == allowed:  # True == 1
                return meaning
        return mismatch(name, value, path, problems)

    return Schema(name, {"enum": [value for value, _ in meanings]}, read)


def union(members: Sequence[Schema]) -> Schema:
    name = " or ".join(member.name for member in members)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        closest: list[str] | None = None
        for member in members:
            found: list[str] = []
            result = member.read(value, path, found)
            if not found:
                return result
            if any(not problem.startswith(f"{path}: expected ") for problem in found):
                closest = closest or found  # the right type of value, with a problem inside
        if closest is None:
            return mismatch(name, value, path, problems)
        problems.extend(closest)
        return None

    return Schema(name, {"anyOf": [member.json_schema for member in members]}, read)


def array(kind: type, item: Schema) -> Schema:
    unique = kind in (set, frozenset)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, list):
            return mismatch("a list", value, path, problems)
        before = len(problems)
        items = [item.read(each, f"{path}[{number}]", problems) for number, each in enumerate(value)]
        if len(problems) > before:
            return None
        try:
            result = kind(items)
        except TypeError:  # not hashable
            return mismatch("a list of plain values", value, path, problems)
        if unique and len(result) < len(items):
            problems.append(f"{path}: has an item twice")
        return result

    json_schema = {"type": "array", "items": item.json_schema, **({"uniqueItems": True} if unique else {})}
    return Schema("a list", json_schema, read)


def fixed_list(members: Sequence[Schema]) -> Schema:
    number = len(members)

    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, list) or len(value) != number:
            return mismatch(f"a list of {number}", value, path, problems)
        return tuple(
            member.read(each, f"{path}[{place}]", problems)
            for place, (member, each) in enumerate(zip(members, value, strict=True))
        )

    prefix = {"prefixItems": [member.json_schema for member in members]} if members else {}
    return Schema(f"a list of {number}", {"type": "array", **prefix, "minItems": number, "maxItems": number}, read)


def mapping(item: Schema) -> Schema:
    def read(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, dict):
            return mismatch("an object", value, path, problems)
        return {key: item.read(each, f"{path}[{show(key)}]", problems) for key, each in value.items()}

    return Schema("an object", {"type": "object", "additionalProperties": item.json_schema}, read)


def with_description(schema: Schema, words: str) -> Schema:
    return attrs.evolve(schema, json_schema={**schema.json_schema, "description": words}) if words else schema


def mismatch(expected: str, value: Any, path: str, problems: list[str]) -> None:
    problems.append(f"{path}: expected {expected}, not {show(value)}")


def show(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 1] + "…"


def dumps(value: Any) -> str:
    return json.dumps(value)
