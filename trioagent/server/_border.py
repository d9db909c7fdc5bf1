"""The checks between clients and the application: access, limits, and the format of errors.

They run in this order, before anything else: the Host header (against DNS rebinding), the Origin header (against
requests that another site's page makes a browser send), and the token. Then the body is read, whole and bounded. When a
client disconnects, its handler is cancelled.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._tracing import Tracing
from ._config import ServerConfig
from ._connections import CONNECTION
from ._request_error import RequestError, as_request_error

PUBLIC_PATHS = ("/", "/healthz", "/readyz")
PUBLIC_PREFIX = "/assets/"
"""Served without a token: the page and its parts, which hold no secret, and the health checks."""

ENDS_BY_ITSELF = "/mcp"

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DEFAULTS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# Headers that allowed other origins may send and read (CORS): those of REST, OpenAI and MCP clients.
_ALLOWED_HEADERS = (
    b"authorization, content-type, last-event-id, if-match, if-none-match, idempotency-key, traceparent, tracestate, "
    b"mcp-session-id, mcp-protocol-version, mcp-method, mcp-name"
)
_EXPOSED_HEADERS = b"etag, mcp-session-id"
_ONCE = (b"host", b"origin", b"authorization", b"content-length", b"content-type")
_PORTS = {"http": 80, "https": 443}


def new_token() -> str:
    """A random token that cannot be guessed."""
    return secrets.token_urlsafe(32)


class Border:
    """An ASGI middleware, see the module.

    Args:
        app: the application behind it.
        check_token: raises for a wrong token.
        tracing: whether spans are recorded.

    Attributes:
        authority: host and port that clients use in the Host header; set once the server listens. "" on a Unix socket,
            whose file permissions control access.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: ServerConfig,
        check_token: Callable[[str], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._app, self._config, self._check_token, self._tracing = app, config, check_token, tracing
        self.authority = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _HttpAnswer(scope, send)
        try:
            headers = _headers(scope)
            self._check_host(headers)
            answer.origin = self._checked_origin(scope, headers)
            if answer.origin and scope["method"] == "OPTIONS":
                await answer.preflight()
                return
            if not _is_public(scope):
                self._check_authorization(scope, headers)
            body = await self._body(headers, receive)
            with self._traced(headers):
                await _run_while_connected(self._app, scope, body, receive, answer.send)
        except _ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer, and the log has it
            refused = as_request_error(error)
            if answer.started:  # too late for an error response: closing the connection shows that the body is cut
                _connection(scope).abort()
                return
            await answer.error(refused)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = False

        async def passing_on(message: Message) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        try:
            headers = _headers(scope)
            self._check_host(headers)
            self._checked_origin(scope, headers)
            if b"authorization" in headers or not self.authority:
                self._check_authorization(scope, headers)
                scope["state"]["identified"] = True
            with self._traced(headers):
                await self._app(scope, receive, passing_on)
        except Exception as error:  # noqa: BLE001 - as above
            refused = as_request_error(error)
            if accepted:
                await send({"type": "websocket.close", "code": 1011, "reason": refused.type})
                return
            await _refuse_websocket(refused, send)

    def _traced(self, headers: Mapping[bytes, bytes]) -> AbstractContextManager[None]:
        """Inside the block spans are children of the client's span, if the request names one."""
        if self._tracing is None or b"traceparent" not in headers:
            return nullcontext()
        named = {name: headers.get(name.encode(), b"").decode("latin-1") for name in ("traceparent", "tracestate")}
        return self._tracing.under(named)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        if not self.authority:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name, _, port = self.authority.rpartition(":")
        own = {f"{one}:{port}" for one in (name, "localhost", "127.0.0.1", "[::1]")}
        if port == "80":
            own |= {one.rpartition(":")[0] for one in own}
        if host not in own and host not in {one.lower() for one in self._config.allowed_hosts}:
            raise RequestError(
                421,
                "wrong_host",
                f"the Host header {host!r:.100} is not allowed",
                "call it by the address that it printed, or start it with --allow-host",
            )

    def _checked_origin(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The origin of another site that may use the server; "" for the server's own page and other clients.

        Raises:
            RequestError: the origin is not allowed.
        """
        given = headers.get(b"origin")
        if given is None:
            return ""
        origin = given.decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if origin.lower() in {f"{scheme}://{host}" for scheme in _PORTS}:
            return ""
        if origin in self._config.allowed_origins:
            return origin
        raise RequestError(
            403,
            "wrong_origin",
            f"the page {origin!r:.100} may not use this server",
            "open the page that the server itself serves, or start it with --allow-origin",
        )

    def _check_authorization(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        if self.authority:
            given = headers.get(b"authorization", b"").decode("latin-1")
            kind, _, token = given.partition(" ")
            if kind.lower() != "bearer":
                raise RequestError(
                    401, "no_token", "the request has no token", "send the header Authorization: Bearer TOKEN"
                )
            self._check_token(token.strip())
        _connection(scope).identified()

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        limits = self._config.limits
        too_large = RequestError(
            413,
            "body_too_large",
            f"the body has more than {limits.body_bytes:,} bytes",
            "send less, or several requests",
        )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limits.body_bytes:
            raise too_large
        body = bytearray()
        with trio.move_on_after(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientLeft
                body += message.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(body)
        raise RequestError(
            408, "body_too_slow", f"the body took more than {limits.body_seconds:g} s", "send it without pauses"
        )


class _ClientLeft(Exception):
    """The client has disconnected."""


class _HttpAnswer:
    """The response to one request; adds the headers that every response has.

    Attributes:
        started: the response has begun.
        origin: the other site that may read it; "" for none.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send, self._scope = send, scope
        self.started, self.origin = False, ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in (*_HEADERS, *_DEFAULTS) if name not in given]
            if self.origin:
                headers += [
                    (b"access-control-allow-origin", self.origin.encode()),
                    (b"access-control-expose-headers", _EXPOSED_HEADERS),
                    (b"vary", b"origin"),
                ]
                headers = [(name, value) for name, value in headers if name != b"cross-origin-resource-policy"]
            message = {**message, "headers": headers}
        await self._send(message)

    async def error(self, error: RequestError) -> None:
        path: str = self._scope["path"]
        body = _openai_error(error) if path.startswith("/v1/") else error.json()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.status in (408, 413):
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def preflight(self) -> None:
        headers = [
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", b"600"),
        ]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})


async def _run_while_connected(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Run *app* with the body that was read; cancelled as soon as the client disconnects.

    Below `ENDS_BY_ITSELF` the application is only notified: a client may drop a request, and its session continues.
    """
    ends_by_itself = scope["path"].startswith(ENDS_BY_ITSELF)
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    left = trio.Event()

    async def receive_body() -> Message:
        if waiting:
            await trio.lowlevel.checkpoint()
            return waiting.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    failure: Exception | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            if not ends_by_itself:
                nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        try:
            await app(scope, receive_body, send)
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _refuse_websocket(error: RequestError, send: Send) -> None:
    body = error.json()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _openai_error(error: RequestError) -> bytes:
    """*error* in the format of OpenAI's API."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return json.dumps(
        {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.type}}
    ).encode()


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers, by name in lower case.

    Raises:
        RequestError: a header that must be unique occurs twice.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ONCE and name in found:
            problem = f"the header {name.decode('latin-1')} occurs twice"
            raise RequestError(400, "bad_request", problem, "send it once")
        found[name] = value
    return found


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX))


def _connection(scope: Scope) -> Any:
    return scope["state"][CONNECTION]
