"""What values of the documented API have in common with the pydantic models that they used to be."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Self

from .._errors import InvalidInputError


class PydanticStyle:
    """The methods that programs call on pydantic models; a class with them may be a field of a pydantic model, too.

    Attributes:
        dumped: names of the fields that are dumped and shown, in order.
    """

    __slots__ = ()
    dumped: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def model_validate(cls, obj: object) -> Self:
        """*obj* if it is one of these, else one made of the mapping that it is.

        Raises:
            InvalidInputError: (a ValueError) it is neither, lacks a field, or a field's value cannot be used.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping) or not all(isinstance(name, str) for name in obj):
            raise InvalidInputError(
                cls.__name__, f"is made of a mapping with {', '.join(cls.dumped)}, not of {obj!r:.100}"
            )
        try:
            return cls(**obj)
        except TypeError:
            raise InvalidInputError(cls.__name__, f"needs {', '.join(cls.dumped)}, unlike {obj!r:.100}") from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """One made of a JSON object.

        Raises:
            InvalidInputError: (a ValueError) it is no JSON; or see `model_validate`.
        """
        try:
            found = json.loads(json_data)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(cls.__name__, f"{json_data!r:.100} is no JSON ({error})") from None
        return cls.model_validate(found)

    parse_obj = model_validate
    parse_raw = model_validate_json

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
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
        return TypeAdapter(cls).json_schema()

    schema = model_json_schema

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        """Called by pydantic for a field of this type."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._validated_by_pydantic,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump()),
        )

    @classmethod
    def _validated_by_pydantic(cls, value: object) -> Self:
        try:
            return cls.model_validate(value)
        except InvalidInputError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def __get_pydantic_json_schema__(cls, core: object, handler: object) -> dict[str, Any]:
        """Called by pydantic for the schema of a model with a field of this type."""
        properties = {name: {"title": name.replace("_", " ").title()} for name in cls.dumped}
        return {"title": cls.__name__, "type": "object", "properties": properties}

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """The fields as a dict of plain values, the same in both modes."""
        found = {name: _plain(getattr(self, name)) for name in self.dumped}
        return {
            name: value
            for name, value in found.items()
            if (include is None or name in include)
            and (exclude is None or name not in exclude)
            and not (exclude_none and value is None)
        }

    def model_dump_json(
        self,
        *,
        indent: int | None = None,
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_none: bool = False,
    ) -> str:
        """`model_dump` as JSON."""
        body = self.model_dump(include=include, exclude=exclude, exclude_none=exclude_none)
        separators = (",", ":") if indent is None else None
        return json.dumps(body, ensure_ascii=False, indent=indent, separators=separators)

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
        return iter([(name, getattr(self, name)) for name in self.dumped])

    def __str__(self) -> str:
        return " ".join(f"{name}={_plain(getattr(self, name))!r}" for name in self.dumped)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PydanticStyle):
        return value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, list) else value
