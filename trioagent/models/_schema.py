"""Schemas of classes: the JSON schema that a model is shown, and the strict validation of its answers.

Both are derived in one pass over the class's types, so that they cannot disagree. Nothing is coerced: "no" is not
False, 1.0 is not an integer, an unknown member is an error. The one exception is JSON's own: an integer where a float
is expected.
"""

from __future__ import annotations

import collections.abc as abc
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Sequence
from typing import Any

import attrs

from .._errors import InvalidInputError
from ._schema_types import (
    SCALAR_SCHEMAS,
    SCALARS,
    Schema,
    array,
    dumps,
    fixed_list,
    mapping,
    mismatch,
    one_of,
    show,
    union,
    with_description,
)

_LISTS = (list, abc.Sequence)
_SETS = (set, frozenset, abc.Set)
_DICTS = (dict, abc.Mapping)


def schema_of(cls: type) -> Schema:
    """Derive the schema of an attrs class or of a pydantic model class.

    Raises:
        InvalidInputError: it is neither, or a field's type cannot be represented in JSON.
    """
    if not isinstance(cls, type):
        raise InvalidInputError("schema", f"must be an attrs class or a pydantic model class, not {cls!r}")
    return _schema_of_class(cls)


@functools.lru_cache(maxsize=64)
def _schema_of_class(cls: abc.Hashable) -> Schema:
    assert isinstance(cls, type)
    if attrs.has(cls):
        return _SchemaBuilder().build(cls)
    pydantic = sys.modules.get("pydantic")  # a pydantic class cannot exist before pydantic has been imported
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return _pydantic_schema(cls)
    raise InvalidInputError(
        "schema", f"must be an attrs class or a pydantic model class, and {cls.__name__} is neither"
    )


class _SchemaBuilder:
    """Builds the schema of a class and of all classes it refers to; references may be circular."""

    def __init__(self) -> None:
        self._classes: dict[type, Schema] = {}
        self._bodies: dict[str, dict[str, Any]] = {}

    def build(self, cls: type) -> Schema:
        top = self.of_class(cls)
        if _mentions(self._bodies, top.json_schema["$ref"]):
            return attrs.evolve(top, json_schema={**top.json_schema, "$defs": self._bodies})
        body = self._bodies.pop(top.json_schema["$ref"].rpartition("/")[2])
        return attrs.evolve(top, json_schema={**body, **({"$defs": self._bodies} if self._bodies else {})})

    def of_annotation(self, annotation: Any, where: str) -> Schema:
        """The schema of an annotation; *where* names the field in errors."""
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            notes = [note for note in args[1:] if isinstance(note, str)]
            return with_description(self.of_annotation(args[0], where), notes[0] if notes else "")
        if annotation is Any or annotation is object:
            return Schema("any value", {}, lambda value, path, problems: value)
        if annotation in SCALAR_SCHEMAS:
            return SCALAR_SCHEMAS[annotation]
        if origin is typing.Literal:
            return one_of([(value, value) for value in args], where)
        if origin in (typing.Union, types.UnionType):
            return union(
                [self.of_annotation(member, where) for member in sorted(args, key=lambda member: member is float)]
            )
        kind = origin or annotation
        items = functools.partial(self.of_annotation, args[0] if args else Any, where)
        if kind in _LISTS:
            return array(list, items())
        if kind in _SETS:
            return array(frozenset if kind is frozenset else set, items())
        if kind is tuple and (origin is None or args[1:] == (...,)):
            return array(tuple, items())
        if kind is tuple:
            return fixed_list([self.of_annotation(member, where) for member in args])
        if kind in _DICTS and (not args or args[0] is str):
            return mapping(self.of_annotation(args[1] if args else Any, where))
        if isinstance(annotation, typing.NewType):
            return self.of_annotation(annotation.__supertype__, where)
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return one_of([(member.value, member) for member in annotation], where)
        if isinstance(annotation, type) and attrs.has(annotation):
            return self.of_class(annotation)
        raise InvalidInputError("schema", f"{where} has the type {annotation!r}, which cannot be represented in JSON")

    def of_class(self, cls: type) -> Schema:
        if cls in self._classes:
            return self._classes[cls]
        name = cls.__name__
        while name in self._bodies:
            name += "_"
        fields: list[_Field] = []
        schema = Schema(cls.__name__, {"$ref": f"#/$defs/{name}"}, functools.partial(_read_class, cls, fields))
        self._classes[cls] = schema
        self._bodies[name] = {}
        try:
            attrs.resolve_types(cls)
        except (NameError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                "schema", f"a type in {cls.__name__} cannot be found ({error}); define it at module level"
            ) from error
        for field in attrs.fields(cls):
            if not field.init:
                continue
            where = f"{cls.__name__}.{field.name}"
            if field.type is None:
                raise InvalidInputError("schema", f"{where} has no type; annotate it")
            description = str(field.metadata.get("description", ""))
            field_schema = with_description(self.of_annotation(field.type, where), description)
            fields.append(_Field(field.alias or field.name, field_schema, field.default))
        self._bodies[name] = _class_schema(cls, fields)
        return schema


@attrs.frozen
class _Field:
    key: str
    schema: Schema
    default: Any

    @property
    def required(self) -> bool:
        return self.default is attrs.NOTHING

    def json_schema(self) -> dict[str, Any]:
        if self.required:  # attrs.NOTHING is also a member of an enum
            return self.schema.json_schema
        default = self.default.value if isinstance(self.default, enum.Enum) else self.default
        if not isinstance(default, SCALARS):
            return self.schema.json_schema
        return {**self.schema.json_schema, "default": default}


def _class_schema(cls: type, fields: Sequence[_Field]) -> dict[str, Any]:
    words = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    return {
        "type": "object",
        **({"description": words} if words else {}),
        "properties": {field.key: field.json_schema() for field in fields},
        "required": [field.key for field in fields if field.required],
        "additionalProperties": False,
    }


def _read_class(cls: type, fields: Sequence[_Field], value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        return mismatch("an object", value, path, problems)
    before, given = len(problems), {}
    for field in fields:
        if field.key in value:
            given[field.key] = field.schema.read(value[field.key], f"{path}.{field.key}", problems)
        elif field.required:
            problems.append(f"{path}.{field.key}: is missing")
    known = [field.key for field in fields]
    for key in value:
        if key not in known:
            problems.append(f"{path}: has the unknown member {show(key)}; it may have {', '.join(known) or 'none'}")
    if len(problems) > before:
        return None
    try:
        return cls(**given)
    except (ValueError, TypeError, AssertionError) as error:  # from the class's own validators
        words = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        problems.append(f"{path}: {words or type(error).__name__}")


def _pydantic_schema(cls: Any) -> Schema:
    """A pydantic model's own schema and strict mode; the model's own settings decide about unknown members."""
    import pydantic

    try:
        json_schema = cls.model_json_schema()
    except (pydantic.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise InvalidInputError("schema", f"{cls.__name__} has no JSON schema: {error}") from error

    def read(value: Any, path: str, problems: list[str]) -> Any:
        try:
            return cls.model_validate_json(dumps(value), strict=True)
        except pydantic.ValidationError as error:
            for entry in error.errors(include_url=False, include_context=False):
                place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"])
                problems.append(f"{path}{place}: {entry['msg']}")

    return Schema(cls.__name__, json_schema, read)


def _mentions(schema: Any, reference: str) -> bool:
    if isinstance(schema, dict):
        return schema.get("$ref") == reference or any(_mentions(part, reference) for part in schema.values())
    return isinstance(schema, list) and any(_mentions(part, reference) for part in schema)
