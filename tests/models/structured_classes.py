"""Classes to be asked for as structured output."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Literal

import attrs
import pydantic


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@attrs.frozen
class Place:
    """Where somebody lives."""

    city: str
    zip: int | None = None


@attrs.frozen
class Person:
    """What is known of somebody."""

    name: str = attrs.field(metadata={"description": "first and last name"})
    age: Annotated[int, "in years"] = attrs.field(validator=attrs.validators.ge(0))
    alive: bool
    home: Place
    height: float = 0.0
    sort: Literal["person", 1] = "person"
    mood: Mood = Mood.GOOD
    tags: frozenset[str] = frozenset()
    point: tuple[int, str] = (0, "")
    children: list[Person] = attrs.field(factory=list)
    notes: Mapping[str, int | str] = attrs.field(factory=dict)
    _hidden: list[float | None] = attrs.field(factory=list)


class Verdict(pydantic.BaseModel):
    """A judge's word."""

    fits: bool
    score: float
    mood: Mood = Mood.GOOD


GOOD = {"name": "Ada Byron", "age": 36, "alive": False, "home": {"city": "London"}}
ADA = Person("Ada Byron", 36, False, Place("London"))
