"""The OpenAPI 3.1 document of the REST API, generated from its operations and their types."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from .. import __version__
from ._operations import Operation

_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_PATH_PARAMETER = re.compile(r"\{(\w+)(?::text)?\}")
_ATTRIBUTE = re.compile(r"^ {4}([\w, ]+): (.+(?:\n {5,}.+)*)", re.MULTILINE)
_DESCRIPTION = (
    "Memories, their notes and runs of a trioagent server. Unless an operation says otherwise, it needs the header "
    '`Authorization: Bearer TOKEN`. Errors are answered as `{"error": {"type", "message", "advice", '
    '"status"}}`.'
)
_STATUS_WORDS = {
    400: "a parameter or the body is wrong",
    401: "no token, or a wrong one",
    403: "the memory's policy does not allow it",
    404: "it does not exist",
    409: "it conflicts with the present state",
    412: "its version is not the one that the request names",
    413: "too much",
    428: "the request names no version",
    503: "not now",
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document for *operations*."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PATH_PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trioagent", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {**schemas.found, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "advice", "status"],
            "properties": {
                "type": {"type": "string", "description": "the error's type, for programs"},
                "message": {"type": "string", "description": "what happened"},
                "advice": {"type": "string", "description": "what to do"},
                "status": {"type": "integer"},
            },
        }
    },
}


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": (inspect.getdoc(operation.answer) or "").partition("\n")[0],
        "content": {"application/json": {"schema": schemas.of(operation.answer)}},
    }
    if operation.versioned:
        answer["headers"] = {"ETag": {"description": "the version", "schema": {"type": "string"}}}
    errors = sorted({*(() if operation.public else (400, 401)), *operation.errors})
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation, schemas), *_conditions(operation)],
        "responses": {str(operation.status): answer, **{str(status): _refusal(status) for status in errors}},
    }
    if operation.public:
        described["security"] = []
    if operation.body is not None:
        content = {"application/json": {"schema": schemas.of(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _refusal(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": _STATUS_WORDS[status], "content": content}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(operation.path)
    ]


def _query_parameters(operation: Operation, schemas: _Schemas) -> list[dict[str, Any]]:
    hints, words = get_type_hints(operation.query), attribute_texts(operation.query)
    found = []
    for field in attrs.fields(operation.query):
        required = field.default is attrs.NOTHING
        schema = schemas.of(hints[field.name])
        if not required:
            schema = {**schema, "default": field.default}
        parameter = {"name": field.name, "in": "query", "required": required, "schema": schema}
        found.append({**parameter, "description": words.get(field.name, "")})
    return found


def _conditions(operation: Operation) -> list[dict[str, Any]]:
    if not operation.conditional:
        return []
    words = {
        "If-Match": "the version that the request changes, as in its ETag",
        "If-None-Match": "`*`: it must not exist yet",
    }
    return [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in words.items()
    ]


class _Schemas:
    """JSON schemas of Python types; those of attrs classes are named.

    Attributes:
        found: by name.
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type."""
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if attrs.has(kind):
            return self._record(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Literal:
            return {"type": "string", "enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(argument) for argument in arguments]}
        if origin is tuple and arguments[-1:] != (Ellipsis,):
            items = [self.of(argument) for argument in arguments]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is not None and issubclass(origin, Sequence):
            return {"type": "array", "items": self.of(arguments[0])}
        raise TypeError(f"no JSON schema for {kind!r}")

    def _record(self, kind: type) -> dict[str, Any]:
        name = kind.__name__
        if name not in self.found:
            self.found[name] = {}  # a class may be recursive
            hints, words = get_type_hints(kind), attribute_texts(kind)
            fields = attrs.fields(kind)
            properties = {}
            for field in fields:
                properties[field.name] = self.of(hints[field.name])
                if field.name in words and "$ref" not in properties[field.name]:
                    properties[field.name]["description"] = words[field.name]
            self.found[name] = {
                "type": "object",
                "description": (inspect.getdoc(kind) or "").partition("\n")[0],
                "required": [field.name for field in fields if field.default is attrs.NOTHING],
                "properties": properties,
                "additionalProperties": False,
            }
        return {"$ref": f"#/components/schemas/{name}"}


def attribute_texts(kind: type) -> dict[str, str]:
    """The description of each attribute, from the docstring of a class."""
    text = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found = {}
    for names, words in _ATTRIBUTE.findall(text):
        for name in names.split(", "):
            found[name] = " ".join(words.split())
    return found
