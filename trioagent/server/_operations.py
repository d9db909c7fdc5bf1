"""What REST offers, as data: each operation with its types. Routes and the OpenAPI document are both made of it."""

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
    """A part of an address that may hold slashes and line breaks: names of notes and jobs are anybody's."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


@attrs.frozen
class NoQuery:
    """An operation without parameters in its address."""


@attrs.frozen(kw_only=True)
class RestCall:
    """A request for an operation, checked.

    Attributes:
        path: the names in the address.
        query: an object of the operation's class.
        body: likewise; None without one.
        version: the one that the request demands (``If-Match``).
        absent: the request demands that there is nothing yet (``If-None-Match: *``).
    """

    path: Mapping[str, str]
    query: Any
    body: Any
    version: str | None
    absent: bool


@attrs.frozen(kw_only=True)
class Answer:
    """What an operation comes to.

    Attributes:
        value: an object of the operation's class.
        version: of what it shows (``ETag``).
        status: of HTTP.
    """

    value: Any
    version: str = ""
    status: int = 200


@attrs.frozen(kw_only=True)
class Operation:
    """One method at one address.

    Attributes:
        path: as Starlette writes it: ``{name}`` is one part, ``{name:text}`` may hold any characters.
        name: for programs that are made of the OpenAPI document.
        summary: one sentence.
        answer: the class of the answer's body.
        query, body: classes of the parameters and of the request's body.
        handler: does it.
        errors: statuses it may refuse with, besides those that every operation has.
        versioned: its answer has a version.
        conditional: it takes a version, and does nothing if that is not the present one.
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
    """What serves *operation*."""

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
    """An answer's body. Long lists are encoded in steps, so that a thread lets the event loop in between."""
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
    """In ASCII: names of files and texts of models may hold half a surrogate pair, which no UTF-8 can."""
    return json.dumps(_converter.unstructure(value)).encode()


def _query(request: Request, kind: Any) -> object:
    """The parameters of a request; numbers are written as text in an address."""
    numbers = {field.name for field in attrs.fields(kind) if get_type_hints(kind)[field.name] is int}
    given: dict[str, object] = {}
    for name, text in request.query_params.multi_items():
        if name in given:
            raise InvalidInputError(name, "is there twice; give it once")
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
    """The version that a write demands; None if it demands that there is nothing yet.

    Raises:
        RequestError: it demands nothing, so that it could undo what somebody else has done.
    """
    if call.version is None and not call.absent:
        raise RequestError(
            428,
            "no_precondition",
            "the request does not say which version it changes",
            "send If-Match with the version that you have read, or If-None-Match: * for something new",
        )
    return None if call.absent else call.version
