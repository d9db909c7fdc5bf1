"""What the values of the documented API share with the pydantic models that they replace."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Self

import attrs

from .._errors import InvalidInputError

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "<required>"})()
"""The default of a required field."""


@attrs.frozen
class ValueField:
    """One field of a value, with the attributes of pydantic's ``FieldInfo`` that programs read.

    Attributes:
        annotation: its type; a string in a module that postpones the evaluation of annotations.
        default: `REQUIRED` if it has none.
    """

    annotation: Any
    default: Any = REQUIRED
    description: str | None = None
    alias: str | None = None

    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED


class _ModelFields:
    """The attribute ``model_fields`` of a class and of its instances."""

    def __get__(self, instance: object, owner: type[PydanticStyle]) -> dict[str, ValueField]:
        return dict(owner.fields)


class _DataclassFields:
    """The attribute that marks a class as a dataclass.

    Frameworks that accept pydantic models as a request's body also accept dataclasses, and recognise them by it.
    """

    def __get__(self, instance: object, owner: type[PydanticStyle]) -> dict[str, dataclasses.Field[Any]]:
        fields = [
            (name, field.annotation, dataclasses.field(**_default(field.default)))
            for name, field in owner.fields.items()
        ]
        made: dict[str, dataclasses.Field[Any]] = vars(
            dataclasses.make_dataclass(owner.__name__, fields, kw_only=True)
        )["__dataclass_fields__"]
        return made


def _default(value: Any) -> dict[str, Any]:
    return {} if value is REQUIRED else {"default_factory": lambda: copy.deepcopy(value)}


class PydanticStyle:
    """The methods that programs call on pydantic models; such a class may also be a field of a pydantic model.

    A subclass may add fields by annotations, as with a pydantic model. Their values are not validated.

    Attributes:
        fields: the fields that are dumped and shown, in order.
        added: the names of the fields that a subclass has added.
    """

    __slots__ = ()
    fields: ClassVar[Mapping[str, ValueField]] = {}
    added: ClassVar[frozenset[str]] = frozenset()
    model_config: ClassVar[Mapping[str, object]] = {}
    model_fields: ClassVar[_ModelFields] = _ModelFields()
    __fields__: ClassVar[_ModelFields] = model_fields
    __dataclass_fields__: ClassVar[_DataclassFields] = _DataclassFields()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith(f"{__package__}."):  # which says what its fields are
            return
        defined = dict(vars(cls))
        for name, value in defined.items():
            if type(value).__name__ == "PydanticDescriptorProxy":
                raise InvalidInputError(
                    f"{cls.__qualname__}.{name}",
                    f"is never called: {cls.__name__} is not a pydantic model; put a value of it into a field of one",
                )
        added = {
            name: ValueField(annotation, defined.get(name, REQUIRED))
            for name, annotation in inspect.get_annotations(cls).items()
            if not name.startswith("_") and "ClassVar" not in str(annotation)
        }
        cls.fields, cls.added = {**cls.fields, **added}, cls.added | added.keys()
        for method in (_AddedFields.__eq__, _AddedFields.__getstate__, _AddedFields.__setstate__):
            setattr(cls, method.__name__, defined.get(method.__name__, method))

    def _set_added(self, given: Mapping[str, object]) -> None:
        """Set the fields that a subclass has added; those not given get a default of their own."""
        for name in self.added:
            value = given.get(name, self.fields[name].default)
            if value is REQUIRED:
                lacks(type(self), name)
            if name not in given:
                make = getattr(value, "get_default", None)  # of pydantic's Field()
                value = make(call_default_factory=True) if callable(make) else copy.deepcopy(value)
                if type(value).__name__ == "PydanticUndefinedType":
                    lacks(type(self), name)
            setattr(self, name, value)

    @classmethod
    def model_validate(
        cls,
        obj: object,
        *,
        strict: bool | None = None,
        from_attributes: bool | None = None,
        context: object = None,
        by_alias: bool | None = None,
        by_name: bool | None = None,
    ) -> Self:
        """*obj* itself if it is of this class, else an object made from the mapping *obj*.

        Args:
            from_attributes: *obj* may also be an object that has the fields as attributes.
            strict, context, by_alias, by_name: without effect.

        Raises:
            InvalidInputError: (a ValueError) it is neither, lacks a field, or has an invalid value.
        """
        if isinstance(obj, cls):
            return obj
        if from_attributes and not isinstance(obj, Mapping):
            obj = {name: getattr(obj, name) for name in cls.fields if hasattr(obj, name)}
        if not isinstance(obj, Mapping) or not all(isinstance(name, str) for name in obj):
            raise InvalidInputError(
                cls.__name__, f"is made of a mapping with {', '.join(cls.fields)}, not of {obj!r:.100}"
            )
        return cls(**obj)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes, **options: Any) -> Self:
        """Make an object from JSON.

        Raises:
            InvalidInputError: (a ValueError) it is not JSON; or see `model_validate`.
        """
        try:
            found = json.loads(json_data)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(cls.__name__, f"{json_data!r:.100} is not JSON ({error})") from None
        return cls.model_validate(found, **options)

    @classmethod
    def from_orm(cls, obj: object) -> Self:
        """`model_validate` for an object's attributes, under its older name."""
        return cls.model_validate(obj, from_attributes=True)

    @classmethod
    def model_construct(cls, _fields_set: Collection[str] | None = None, **values: Any) -> Self:
        """Make an object from these values, which are validated nevertheless."""
        return cls(**values)

    parse_obj = model_validate
    model_validate_strings = model_validate
    parse_raw = model_validate_json
    construct = model_construct

    @classmethod
    def model_rebuild(cls, **options: object) -> None:
        """Without effect: no annotation is evaluated."""

    update_forward_refs = model_rebuild

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:
        """The JSON schema; the one method that needs pydantic.

        Raises:
            InvalidInputError: pydantic is not installed.
        """
        try:
            from pydantic import TypeAdapter
        except ImportError:
            raise InvalidInputError(
                f"{cls.__name__}.model_json_schema",
                "needs pydantic, which is not installed here; model_dump() and model_dump_json() work without",
            ) from None
        return TypeAdapter(cls).json_schema(**options)

    schema = model_json_schema

    @classmethod
    def schema_json(cls, **options: Any) -> str:
        """The JSON schema as JSON, under its older name; *options* are those of `json.dumps`."""
        return json.dumps(cls.model_json_schema(), **options)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        """Called by pydantic for a field of this type."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._validated_by_pydantic,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value, info: value.model_dump(mode=info.mode), info_arg=True
            ),
        )

    @classmethod
    def _validated_by_pydantic(cls, value: object) -> Self:
        try:
            return cls.model_validate(value)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def __get_pydantic_json_schema__(cls, core: object, handler: Any) -> Any:
        """Called by pydantic for the schema of a model with a field of this type: that of a model with its fields."""
        from pydantic import create_model

        fields: Any = {
            name: (field.annotation, ... if field.is_required() else field.default)
            for name, field in cls.fields.items()
        }
        return handler(create_model(cls.__name__, **fields).__pydantic_core_schema__)

    @property
    def model_fields_set(self) -> set[str]:
        """The names of the fields whose value differs from their default."""
        return {name for name, field in self.fields.items() if getattr(self, name) != field.default}

    @property
    def model_extra(self) -> dict[str, Any] | None:
        """None: unknown fields are not kept."""
        return None

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """A dict of the fields, for ``vars(value)``; changing it has no effect on the value."""
        return dict(self)

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        by_alias: bool | None = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
        **others: object,
    ) -> dict[str, Any]:
        """The fields as a dict.

        Args:
            mode: "json" for plain values; in other modes a role is a `Role`, which is also a string.
            include, exclude: names of fields.
            exclude_unset, exclude_defaults: leave out the fields that have their default.
            exclude_none: leave out the fields that are None.
            by_alias, others: further options of pydantic, without effect.
        """
        left_out = self.fields.keys() - self.model_fields_set if exclude_unset or exclude_defaults else set[str]()
        return {
            name: _plain(value, mode)
            for name, value in self
            if (include is None or name in include)
            and (exclude is None or name not in exclude)
            and name not in left_out
            and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """`model_dump` as JSON; *options* are those of `model_dump`."""
        separators = (",", ":") if indent is None else None
        body = self.model_dump(**{**options, "mode": "json"})
        return json.dumps(body, ensure_ascii=False, indent=indent, separators=separators, default=str)

    json = model_dump_json

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with the fields in *update* set."""
        copied = copy.deepcopy(self) if deep else copy.copy(self)
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    copy = model_copy

    def dict(self, **options: Any) -> dict[str, Any]:
        """`model_dump` under its older name."""
        return self.model_dump(**options)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and value, so that ``dict(value)`` works."""
        return iter([(name, getattr(self, name)) for name in self.fields])

    def __str__(self) -> str:
        return " ".join(f"{name}={_plain(value, 'json')!r}" for name, value in self)


class _AddedFields(PydanticStyle):
    """Replaces methods that attrs generated for the base class, in a subclass with fields of its own."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> Any:
        base = _made_by_attrs(type(self), "__getstate__")(self)
        return {**base, **{name: getattr(self, name) for name in self.added}}

    def __setstate__(self, state: Any) -> None:
        _made_by_attrs(type(self), "__setstate__")(self, state)
        for name in self.added & state.keys():
            setattr(self, name, state[name])


def _made_by_attrs(cls: type, name: str) -> Any:
    ours = (base for base in cls.__mro__ if base.__module__.startswith(f"{__package__}."))
    return next(vars(base)[name] for base in ours if name in vars(base))


def lacks(kind: type[PydanticStyle], name: str) -> Any:
    """Raise InvalidInputError for a field that was not given."""
    raise InvalidInputError(kind.__name__, f"needs {', '.join(kind.fields)}; {name} is missing")


def _plain(value: Any, mode: str) -> Any:
    if isinstance(value, Enum) and mode == "json":
        return value.value
    if isinstance(value, PydanticStyle):
        return value.model_dump(mode=mode)
    return [_plain(item, mode) for item in value] if isinstance(value, list) else value
