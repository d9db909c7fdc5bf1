"""The server's settings: frozen, keyword-only, validated on creation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from .._config import MIB, AgentConfig, ModelConfig
from .._errors import InvalidInputError
from ..memory import VaultPolicy
from ..models import Model

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")


def _in_range(low: float, high: float = math.inf, *, whole: bool = False) -> Any:
    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            most = "" if high == math.inf else f" to {high:g}"
            wanted = f"a {'whole ' if whole else ''}number{' from' if most else ', at least'} {low:g}{most}"
            name = f"{type(instance).__name__}.{attribute.name}"
            raise InvalidInputError(name, f"must be {wanted}, not {value!r}")

    return validate


def _count(default: int) -> Any:
    return attrs.field(default=default, validator=_in_range(1, whole=True))


def _seconds(default: float, low: float = 0.001) -> Any:
    return attrs.field(default=default, validator=_in_range(low, 86_400))


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Limits on what clients may use of the server.

    Attributes:
        connections: open at once.
        unidentified: connections at once that have not sent a token yet; beyond that, the oldest is closed.
        header_bytes: of one request's head.
        body_bytes: of one request's body.
        message_bytes: of one WebSocket message.
        chats: chats running at once.
        sessions: conversations kept at once.
        subscribers: of one session.
        event_bytes: of a session's latest events, kept for clients that reconnect; at least the last event is kept.
        head_seconds: from a request's first byte to the end of its head.
        body_seconds: for the rest of a request, and for one WebSocket message.
        idle_seconds: between the requests of one connection.
        token_seconds: for the first message of a WebSocket, if it must carry the token.
        write_seconds: for a client to take 64 KiB.
        first_client_seconds: for the client that has opened a session to follow it.
        keep_alive_seconds: between two signs of life in a stream: proxies close what is silent for a minute, some for
            half of one.
    """

    connections: int = _count(4096)
    unidentified: int = _count(256)
    header_bytes: int = attrs.field(default=16 * 1024, validator=_in_range(1024, whole=True))
    body_bytes: int = attrs.field(default=4 * MIB, validator=_in_range(1024, whole=True))
    message_bytes: int = attrs.field(default=1 * MIB, validator=_in_range(1024, whole=True))
    chats: int = _count(100)
    sessions: int = _count(4096)
    subscribers: int = _count(16)
    event_bytes: int = attrs.field(default=32 * 1024, validator=_in_range(1024, whole=True))
    head_seconds: float = _seconds(10.0)
    body_seconds: float = _seconds(30.0)
    idle_seconds: float = _seconds(60.0)
    token_seconds: float = _seconds(10.0)
    write_seconds: float = _seconds(30.0)
    first_client_seconds: float = _seconds(10.0)
    keep_alive_seconds: float = _seconds(15.0)


def _port(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _in_range(0, 65535, whole=True)(instance, attribute, value)


def _given_token(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The value is a secret, so errors do not show it."""
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        problem = "must be 16 to 200 letters, digits or any of ._~+/=- (the command line's is TRIOAGENT_SERVER_TOKEN)"
        raise InvalidInputError("ServerConfig.token", problem)


def _hosts(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    for host in value:
        if not isinstance(host, str) or not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", host):
            raise InvalidInputError("ServerConfig.allowed_hosts", f"must be names like notes.example.org, not {host!r}")


def _origins(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    for origin in value:
        parts = urlsplit(origin) if isinstance(origin, str) else None
        if parts is None or parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            words = f"must be origins like https://chat.example.org, not {origin!r}"
            raise InvalidInputError("ServerConfig.allowed_origins", words)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _root(path: Any) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


@attrs.frozen(kw_only=True)
class ServerConfig:
    """What the server serves, where, and to whom.

    Attributes:
        root: a folder whose subfolders are memories, or a memory itself (a folder that holds notes). None: no
            memories.
        runs: a run directory, or a folder with run directories, to show on the page. None: no runs.
        model: the model; see `open_runtime`. None: no model, and requests that need one are refused.
        host, port: where to listen; port 0 is any free one.
        unix_socket: listen at this path instead, for this user only (mode 0600); no token is needed there.
        token: the token that clients must send; None: a random one is generated.
        allowed_hosts: further values of the Host header that are accepted, with the port unless it is the scheme's
            default, such as the name of a proxy in front of the server.
        allowed_origins: other origins whose pages may use the server from a browser.
        policy: what agents and clients may read and change in each memory.
        history: keep the history of the notes (see `Memory`). If `serve` is given a runtime, that runtime's setting
            applies.
        agent: the settings of the agents.
        limits: limits on what clients may use.
        linger_seconds: how long a session is kept after its last subscriber has disconnected.
        grace_seconds: how long running chats may continue after a request to stop.
    """

    root: Path | None = attrs.field(default=None, converter=_root)
    runs: Path | None = attrs.field(default=None, converter=_root)
    model: str | ModelConfig | Model | None = None
    host: str = "127.0.0.1"
    port: int = attrs.field(default=8460, validator=_port)
    unix_socket: Path | None = attrs.field(default=None, converter=_root)
    token: str | None = attrs.field(default=None, validator=_given_token, repr=False)
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_hosts)
    allowed_origins: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_origins)
    history: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    policy: VaultPolicy = attrs.field(factory=VaultPolicy, validator=attrs.validators.instance_of(VaultPolicy))
    agent: AgentConfig = AgentConfig()
    limits: ServerLimits = ServerLimits()
    linger_seconds: float = _seconds(60.0, 0)
    grace_seconds: float = _seconds(10.0, 0)
