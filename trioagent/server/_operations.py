"""The REST API as data: each operation with its types. Routes and the OpenAPI document are generated from it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, get_type_hints

import attrs
import trio
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .._errors import InvalidInputError
from .._steps import STEP_NAMES
from .._wire import read_value, strict_converter
from ._context import ServerContext
from ._json_body import read_json
from ._request_error import RequestError

_converter = strict_converter()


class _AnyText(Convertor[str]):
    """A path parameter that may hold slashes and line breaks, as names of notes and jobs do."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


@attrs.frozen
class NoQuery:
    """An operation without query parameters."""


@attrs.frozen(kw_only=True)
class RestCall:
    """A validated request for an operation.

    Attributes:
        path: the path parameters.
        query: the query parameters, as an object of the operation's class.
        body: the request body likewise; None without one.
        version: the version that the request requires (``If-Match``).
        absent: the request requires that it does not exist yet (``If-None-Match: *``).
    """

    path: Mapping[str, str]
    query: Any
    body: Any
    version: str | None
    absent: bool


@attrs.frozen(kw_only=True)
class Answer:
    """The result of an operation.

    Attributes:
        value: an object of the operation's class.
        version: the version of what it shows (``ETag``).
        status: the HTTP status.
    """

    value: Any
    version: str = ""
    status: int = 200


@attrs.frozen(kw_only=True)
class Operation:
    """One method at one address.

    Attributes:
        path: in Starlette's syntax: ``{name}`` is one segment, ``{name:text}`` may hold any characters.
        name: the operation's id, for code generated from the OpenAPI document.
        summary: one sentence.
        answer: the class of the response body.
        query, body: the classes of the parameters and of the request body.
        handler: executes it.
        errors: its error statuses, besides those that every operation has.
        versioned: its response has a version.
        conditional: it takes a version, and changes nothing if that is not the present one.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    summary: str
    answer: type
    handler: Callable[[ServerContext, RestCall], Awaitable[Answer]]
    query: type = NoQuery
    body: type | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    versioned: bool = False
    conditional: bool = False
    public: bool = False


def make_route(context: ServerContext, operation: Operation) -> BaseRoute:
    """The route of *operation*."""

    async def endpoint(request: Request) -> Response:
        call = RestCall(
            path=request.path_params,
            query=_query(request, operation.query),
            body=None if operation.body is None else await _body(request, operation.body),
            version=_version(request),
            absent=request.headers.get("if-none-match", "").strip() == "*",
        )
        answer = await operation.handler(context, call)
        content = await trio.to_thread.run_sync(encode, answer.value)
        headers = {"etag": f'"{answer.version}"'} if answer.version else {}
        return Response(content, answer.status, headers, "application/json")

    return Route(operation.path, endpoint, methods=[operation.method])


def encode(value: Any) -> bytes:
    """Encode a response body. Long lists are encoded in steps, so that a thread lets the event loop run in between."""
    parts = []
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        name = json.dumps(field.name)
        if isinstance(item, list | tuple) and len(item) > STEP_NAMES:
            steps = (item[start : start + STEP_NAMES] for start in range(0, len(item), STEP_NAMES))
            parts.append(f"{name}: [{', '.join(_dump(list(step)).decode()[1:-1] for step in steps)}]")
        else:
            parts.append(f"{name}: {_dump(item).decode()}")
    return f"{{{', '.join(parts)}}}".encode()


def _dump(value: object) -> bytes:
    """In ASCII: file names and texts of models may hold lone surrogates, which UTF-8 cannot encode."""
    return json.dumps(_converter.unstructure(value)).encode()


def _query(request: Request, kind: Any) -> object:
    """The query parameters of a request; numbers are text in an address."""
    numbers = {field.name for field in attrs.fields(kind) if get_type_hints(kind)[field.name] is int}
    given: dict[str, object] = {}
    for name, text in request.query_params.multi_items():
        if name in given:
            raise InvalidInputError(name, "is given twice; give it once")
        given[name] = int(text) if name in numbers and text.isdecimal() and len(text) < 16 else text
    return read_value(_converter, given, kind, "query")


async def _body(request: Request, kind: type) -> object:
    try:
        value = await read_json(await request.body())
    except RequestError as error:
        raise InvalidInputError("body", error.problem) from error
    return read_value(_converter, value, kind, "body")


def _version(request: Request) -> str | None:
    given = request.headers.get("if-match")
    return None if given is None else given.strip().removeprefix("W/").strip('"')


def require_precondition(call: RestCall) -> str | None:
    """The version that a write requires; None if it requires that the note does not exist.

    Raises:
        RequestError: it has no precondition, and so could overwrite another client's change.
    """
    if call.version is None and not call.absent:
        raise RequestError(
            428,
            "no_precondition",
            "the request does not name the version that it changes",
            "send If-Match with the version that you have read, or If-None-Match: * for something new",
        )
    return None if call.absent else call.version
