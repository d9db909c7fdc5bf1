"""Values at an interface (rows, journals, receipts): strict conversion between plain JSON and attrs classes.

cattrs converts leniently: by default "no" becomes True and 5 becomes "5", and unknown fields are dropped. Here a value
that does not have the class's type is refused, and the error names the path, the value and what would be valid.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory

from ._errors import InvalidInputError

T = TypeVar("T")
AsMapping = Callable[[object], Mapping[str, Any] | None]

Hook = Callable[[Any, Any], Any]

_NAMES: Mapping[Any, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_UNREADABLE = (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError)
_SHOWN = 20
_LONGEST_NAME = 100  # compared with the names of fields; a longer name cannot resemble one


def short(value: object) -> str:
    """A value, shortened for an error message."""
    text = repr(value)  # which escapes unprintable characters
    return text if len(text) <= 60 else text[:57] + "..."


def text_problem(value: object) -> str:
    """Why *value* is not a non-empty text that can be written to a file, or ""."""
    if not isinstance(value, str) or not value.strip():
        return f"must be a text that is not empty, not {short(value)}"
    if "\0" in value or not _encodes(value):
        return f"holds a character that no file can (NUL, or a lone surrogate): {short(value)}"
    return ""


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def strict_converter(as_mapping: AsMapping | None = None, *, advice: str = "") -> cattrs.Converter:
    """A converter for one interface.

    Args:
        as_mapping: returns the fields of an object that may be used as a record here, None for one that may not. By
            default only mappings may.
        advice: what to do about an unknown field that resembles none.
    """
    converter = cattrs.Converter(detailed_validation=True)
    for kind in _NAMES:
        converter.register_structure_hook(kind, _exactly(kind))
    for predicate, factory in (
        (_is_literal, _literal),
        (_is_union, _union),
        (_is_array, _array),
        (_is_object, _object),
        (attrs.has, partial(_record, as_mapping=as_mapping or _mapping, advice=advice)),
    ):
        converter.register_structure_hook_factory(predicate, partial(factory, converter=converter))
    return converter


def read_value(converter: cattrs.Converter, value: object, kind: type[T], where: str) -> T:
    """Convert *value* to *kind*.

    Raises:
        InvalidInputError: it does not match; ``what`` is *where* with the path inside it.
    """
    try:
        return converter.structure(value, kind)
    except (cattrs.BaseValidationError, *_UNREADABLE) as error:
        raise _first_problem(error, where) from None


class _Refused(ValueError):
    """Why a value cannot be converted, without its place."""


def _exactly(kind: type) -> Hook:
    accepted = (int, float) if kind is float else kind

    def structure(value: object, _: object) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise _Refused(f"must be {_NAMES[kind]}, not {short(value)}")
        return value

    return structure


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _literal(kind: Any, *, converter: cattrs.Converter) -> Hook:
    choices = get_args(kind)

    def structure(value: object, _: object) -> Any:
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise _Refused(f"must be one of {', '.join(map(repr, choices))}, not {short(value)}")
        return value

    return structure


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _union(kind: Any, *, converter: cattrs.Converter) -> Hook:
    """None and one other kind, or plain values only: no interface needs more."""
    plain = [one for one in get_args(kind) if one in _NAMES]
    others = [one for one in get_args(kind) if one not in _NAMES and one is not types.NoneType]
    optional = types.NoneType in get_args(kind)
    assert len(others) + bool(plain) == 1, kind

    def structure(value: object, _: object) -> Any:
        if value is None and optional:
            return None
        if others:
            return converter.structure(value, others[0])
        for one in plain:
            with suppress(_Refused):
                return converter.structure(value, one)
        raise _Refused(f"must be {' or '.join(_NAMES[one] for one in plain)}, not {short(value)}")

    return structure


def _is_array(kind: Any) -> bool:
    return get_origin(kind) in (list, tuple, Sequence)


def _array(kind: Any, *, converter: cattrs.Converter) -> Hook:
    make = list if get_origin(kind) is list else tuple
    generic: Any = types.GenericAlias(list, get_args(kind)[0])
    structure_list = list_structure_factory(generic, converter)

    def structure(value: object, _: object) -> Any:
        if not isinstance(value, list | tuple):
            raise _Refused(f"must be a list, not {short(value)}")
        return make(structure_list(value, kind))

    return structure


def _is_object(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _object(kind: Any, *, converter: cattrs.Converter) -> Hook:
    generic: Any = types.GenericAlias(dict, get_args(kind))
    structure_dict = mapping_structure_factory(generic, converter)

    def structure(value: object, _: object) -> Any:
        if not isinstance(value, Mapping):
            raise _Refused(f"must be an object, not {short(value)}")
        return structure_dict(value, kind)

    return structure


def _mapping(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _record(kind: Any, *, converter: cattrs.Converter, as_mapping: AsMapping, advice: str) -> Hook:
    fields = {field.name: field for field in attrs.fields(kind)}
    structure_fields = make_dict_structure_fn(kind, converter)

    def structure(value: object, _: object) -> Any:
        body = as_mapping(value)
        if body is None:
            others = f"a {kind.__name__}, or have its fields ({', '.join(fields)})"
            raise _Refused(f"must be {'an object' if as_mapping is _mapping else others}, not {short(value)}")
        if unknown := [str(name) for name in body if name not in fields]:
            raise _Refused(f"has {_listed('the unknown field', unknown)}; {_meant(unknown[0], fields, advice)}")
        if missing := [name for name, one in fields.items() if name not in body and one.default is attrs.NOTHING]:
            raise _Refused(f"lacks {_listed('the field', missing)}")
        return structure_fields(body, kind)

    return structure


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(map(short, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    return f"{what}{'s' if len(names) > 1 else ''} {shown}"


def _meant(name: str, fields: Mapping[str, Any], advice: str) -> str:
    near = get_close_matches(name[:_LONGEST_NAME].casefold(), fields, n=1)
    return f"did you mean {near[0]!r}?" if near else advice or f"there are {', '.join(fields)}"


def _first_problem(error: BaseException, where: str) -> InvalidInputError:
    while isinstance(error, cattrs.BaseValidationError):
        error = error.exceptions[0]
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                where = f"{where}.{note.name}" if where else note.name
            elif isinstance(note, cattrs.IterableValidationNote):
                where = f"{where}[{note.index!r}]"
    if isinstance(error, InvalidInputError):  # from a class's own validator, which names its field
        return InvalidInputError(f"{where}.{error.what}" if where else error.what, error.problem)
    return InvalidInputError(where, str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}")
