"""Sessions over a WebSocket, and the same over SSE and POST."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from .._exceptions import open_helper_nursery
from ._commands import COMMANDS, CloseCommand, Command, read_command
from ._connections import CONNECTION
from ._context import ServerContext
from ._event_ring import Subscription
from ._json_body import read_json, read_record
from ._request_error import RequestError, as_request_error
from ._sessions import Session
from ._sse import EventStreamResponse, Write

_NUMBER = re.compile(rb'\A\{(?:"type": "snapshot", )?"n": (\d+)')
_UNREAD_ERRORS = 16  # error messages that a client may leave unread before it is disconnected
_POLICY_VIOLATION, _TRY_AGAIN_LATER, _NORMAL = 1008, 1013, 1000


@attrs.frozen
class NewSession:
    """The body of the POST that opens a session; see `Sessions.open`."""

    review: str = ""
    read_only: bool = False


@attrs.frozen
class _TokenMessage:
    """The first message of a client that cannot set headers."""

    type: str
    token: str


def routes(context: ServerContext) -> list[BaseRoute]:
    """The routes of sessions."""
    handlers = _ChatRoutes(context)
    return [
        WebSocketRoute("/ws/memories/{name}/chat", handlers.websocket),
        Route("/api/memories/{name}/chats", handlers.create, methods=["POST"]),
        Route("/api/chats", handlers.list, methods=["GET"]),
        Route("/api/chats/{id}", handlers.snapshot, methods=["GET"]),
        Route("/api/chats/{id}", handlers.close, methods=["DELETE"]),
        Route("/api/chats/{id}/events", handlers.events, methods=["GET"]),
        Route("/api/chats/{id}/{command}", handlers.command, methods=["POST"]),
    ]


class _ChatRoutes:
    def __init__(self, context: ServerContext) -> None:
        self._context = context

    async def create(self, request: Request) -> Response:
        body = await request.body()
        wanted = await read_record(body, NewSession) if body else NewSession()
        session = await self._open(request.path_params["name"], wanted)
        return JSONResponse({"session": session.id, "memory": session.memory}, status_code=201)

    async def list(self, request: Request) -> Response:
        sessions = self._context.sessions.all()
        return JSONResponse(
            {"chats": [{"session": one.id, "memory": one.memory, "busy": one.busy} for one in sessions]}
        )

    async def snapshot(self, request: Request) -> Response:
        return Response(self._session(request).snapshot(), media_type="application/json")

    async def close(self, request: Request) -> Response:
        return await self._apply(request, CloseCommand())

    async def command(self, request: Request) -> Response:
        kind = request.path_params["command"]
        if kind not in COMMANDS:
            advice = f"use one of {', '.join(COMMANDS)}"
            raise RequestError(404, "not_found", f"there is no command {kind!r:.60}", advice)
        body = await request.body()
        given = await read_json(body) if body else {}
        if not isinstance(given, Mapping):
            raise RequestError(400, "bad_request", "the body is not an object", "send a JSON object")
        return await self._apply(request, read_command({**given, "type": kind}))

    async def events(self, request: Request) -> Response:
        given = request.query_params.get("after", request.headers.get("last-event-id"))
        session, after = self._session(request), _number(given)

        async def produce(write: Write) -> None:
            with session.subscribe(after) as subscription, suppress(trio.EndOfChannel):
                while True:
                    await write(b"".join(map(_as_event, await subscription.receive())))

        return EventStreamResponse(produce, self._context.config.limits.keep_alive_seconds)

    async def websocket(self, websocket: WebSocket) -> None:
        after = _number(websocket.query_params.get("after"))
        if websocket.scope["state"].get("identified", False):
            session = await self._session_for(websocket)
            await websocket.accept()
        else:
            await websocket.accept()
            try:
                await self._receive_token(websocket)
                session = await self._session_for(websocket)
            except Exception as error:  # noqa: BLE001 - the client is told
                await _send_away(websocket, as_request_error(error))
                return
        try:
            await _Watcher(websocket, session).run(after)
        except RequestError as error:  # it has ended meanwhile, or has too many subscribers
            await _send_away(websocket, error)

    async def _receive_token(self, websocket: WebSocket) -> None:
        limit = self._context.config.limits.token_seconds
        with trio.move_on_after(limit):
            message = await websocket.receive()
            first = await read_record(message.get("text") or "{}", _TokenMessage, "first message")
            self._context.check_token(first.token)
            websocket.scope["state"][CONNECTION].identified()
            return
        advice = 'send {"type": "token", "token": "..."} first'
        raise RequestError(401, "no_token", f"no token came within {limit:g} s", advice)

    async def _session_for(self, websocket: WebSocket) -> Session:
        name, query = websocket.path_params["name"], websocket.query_params
        if "session" in query:
            session = self._context.sessions.get(query["session"])
            if session.memory != name:
                raise RequestError(409, "other_memory", f"the session is over {session.memory!r}", "use that name")
            return session
        return await self._open(name, NewSession(query.get("review", ""), query.get("read_only") in ("1", "true")))

    async def _open(self, name: str, wanted: NewSession) -> Session:
        runtime = self._context.require_runtime()
        memory = await self._context.memories.get(name)
        return self._context.sessions.open(name, memory, runtime, review=wanted.review, read_only=wanted.read_only)

    def _session(self, request: Request) -> Session:
        return self._context.sessions.get(request.path_params["id"])

    async def _apply(self, request: Request, command: Command) -> Response:
        done = await command.apply(self._session(request))
        return JSONResponse(done, status_code=202 if done else 200)


class _Watcher:
    """A WebSocket that follows a session."""

    def __init__(self, websocket: WebSocket, session: Session) -> None:
        self._websocket, self._session = websocket, session

    async def run(self, after: int | None) -> None:
        with self._session.subscribe(after) as subscription:
            async with open_helper_nursery() as nursery:
                nursery.start_soon(self._send, subscription)
                misbehaves = await self._receive(subscription)
            if misbehaves:
                await self._websocket.close(_POLICY_VIOLATION, "too many errors")

    async def _send(self, subscription: Subscription) -> None:
        connection = self._websocket.scope["state"][CONNECTION]
        try:
            while True:
                await connection.send_texts(await subscription.receive())
        except trio.EndOfChannel:
            await self._websocket.close(_NORMAL)

    async def _receive(self, subscription: Subscription) -> bool:
        """Apply the client's commands until it disconnects; True if the connection is to be closed for its errors."""
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            try:
                await read_command(await read_json(message.get("text") or "")).apply(self._session)
            except Exception as error:  # noqa: BLE001 - the client is told
                if subscription.unread >= _UNREAD_ERRORS:
                    return True
                subscription.send(_error_message(as_request_error(error)))
        return False


async def _send_away(websocket: WebSocket, error: RequestError) -> None:
    await websocket.send({"type": "websocket.send", "text": _error_message(error).decode()})
    await websocket.close(_TRY_AGAIN_LATER if error.status in (429, 503) else _POLICY_VIOLATION, error.type)


def _as_event(data: bytes) -> bytes:
    """A message as a server-sent event; its number is the event's id."""
    number = _NUMBER.search(data)
    return (b"id: %s\n" % number[1] if number else b"") + b"data: %s\n\n" % data


def _error_message(error: RequestError) -> bytes:
    return json.dumps({"type": "error", "error": error.body}).encode()


def _number(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        problem = f"{given!r:.40} is not the number of an event"
        raise RequestError(400, "bad_number", problem, "send the number of the last event that was received")
    return int(given)
