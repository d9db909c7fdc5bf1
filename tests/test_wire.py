"""Strict conversion at the borders: nothing is converted in silence, and errors name path and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import pytest

from trioagent._errors import InvalidInputError
from trioagent._wire import read_value, strict_converter


def _even(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value % 2:
        raise InvalidInputError(attribute.name, f"must be even, not {value}")


@attrs.frozen
class Part:
    name: str
    size: int = attrs.field(default=2, validator=_even)


@attrs.frozen
class Whole:
    parts: tuple[Part, ...]
    by_name: Mapping[str, Part] = attrs.field(factory=dict)
    kind: Literal["a", 1] = "a"
    ratio: float | None = None
    on: bool = False
    either: int | str = 0
    lines: Sequence[str] = ()
    anything: Any = None


converter = strict_converter()


@pytest.mark.parametrize(
    "value",
    [
        {"parts": []},
        {"parts": [{"name": "x"}], "ratio": 1, "either": "y", "kind": 1, "on": True},
        {"parts": ({"name": "x", "size": 4},), "by_name": {"k": {"name": "z"}}, "anything": [{"a": None}]},
        {"parts": [], "ratio": None, "lines": ["a", "b"]},
    ],
)
def test_what_is_written_is_read_back(value: object) -> None:
    read = read_value(converter, value, Whole, "row")
    assert read_value(converter, converter.unstructure(read), Whole, "row") == read
    assert isinstance(read.parts, tuple)


@pytest.mark.parametrize(
    ("value", "what", "problem"),
    [
        ([], "row", "must be an object, not []"),
        (None, "row", "must be an object, not None"),
        ({}, "row", "lacks the field 'parts'"),
        ({"parts": [], "part": 1, "x": 2}, "row", "has the unknown fields 'part', 'x'; did you mean 'parts'?"),
        ({"parts": {}}, "row.parts", "must be a list, not {}"),
        ({"parts": "abc"}, "row.parts", "must be a list, not 'abc'"),
        ({"parts": [{"name": "x"}, {"name": 5}]}, "row.parts[1].name", "must be a text, not 5"),
        ({"parts": [{"name": "x", "size": 3}]}, "row.parts[0].size", "must be even, not 3"),
        ({"parts": [{"name": "x", "size": True}]}, "row.parts[0].size", "must be a whole number, not True"),
        ({"parts": [{"name": "x", "size": 2.0}]}, "row.parts[0].size", "must be a whole number, not 2.0"),
        ({"parts": [], "by_name": {"k": {}}}, "row.by_name['k']", "lacks the field 'name'"),
        ({"parts": [], "by_name": []}, "row.by_name", "must be an object, not []"),
        ({"parts": [], "by_name": {5: {"name": "x"}}}, "row.by_name[5]", "must be a text, not 5"),
        ({"parts": [], "kind": "b"}, "row.kind", "must be one of 'a', 1, not 'b'"),
        ({"parts": [], "kind": True}, "row.kind", "must be one of 'a', 1, not True"),
        ({"parts": [], "ratio": "1"}, "row.ratio", "must be a number, not '1'"),
        ({"parts": [], "ratio": False}, "row.ratio", "must be a number, not False"),
        ({"parts": [], "on": "no"}, "row.on", "must be true or false, not 'no'"),
        ({"parts": [], "on": 0}, "row.on", "must be true or false, not 0"),
        ({"parts": [], "either": 1.5}, "row.either", "must be a whole number or a text, not 1.5"),
        ({"parts": [], "lines": "ab"}, "row.lines", "must be a list, not 'ab'"),
        ({"parts": [], "on": "x" * 100}, "row.on", "must be true or false, not '" + "x" * 56 + "..."),
    ],
)
def test_what_is_wrong_is_named(value: object, what: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_value(converter, value, Whole, "row")
    assert (caught.value.what, caught.value.problem) == (what, problem)


def test_many_unknown_fields_are_not_all_shown() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_value(converter, {"parts": []} | {"y" * n: 0 for n in range(2, 2000)}, Whole, "row")
    assert len(str(caught.value)) < 2500


def test_objects_that_stand_for_a_record() -> None:
    def fields(value: object) -> Mapping[str, Any] | None:
        return {"name": value.__name__} if isinstance(value, type) else None

    others = strict_converter(fields)
    assert read_value(others, int, Part, "part") == Part("int")
    with pytest.raises(InvalidInputError, match=r"part: must be a Part, or have its fields \(name, size\), not 5"):
        read_value(others, 5, Part, "part")
