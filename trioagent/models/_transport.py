"""What carries a model's requests: our own lanes, or any httpx transport behind the same few methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from .._errors import ModelConnectionError
from ._http1 import post_head

_PORTS = {"http": 80, "https": 443}


class Endpoint:
    """Where requests go, and what all of them have in common.

    Attributes:
        url: the whole address.
        where: the address without its query, which may hold a key; for errors.
        fields: the headers, in order. They hold the key.
        silence_seconds: how long the server may send nothing at all.
        origin: scheme, host and port.
    """

    def __init__(self, url: str, fields: Mapping[str, str], silence_seconds: float) -> None:
        parts = urlsplit(url)
        self.url, self.where = url, url.partition("?")[0]
        self.fields, self.silence_seconds = fields, silence_seconds
        self.origin = (parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = post_head(target.encode("ascii"), parts.netloc, fields.items())

    def request(self, body: bytes) -> bytes:
        """A request as HTTP/1.1 has it."""
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def broken(self, problem: str) -> ModelConnectionError:
        """The error for a connection that broke, or never was."""
        return ModelConnectionError(self.where, problem)

    def silent(self) -> ModelConnectionError:
        """The error for a server that sent nothing for too long."""
        return self.broken(f"it sent nothing for {self.silence_seconds:g} s")


class Reply(Protocol):
    """A response whose head is there. Every reply must be closed, whatever happens to it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""

    @property
    def over(self) -> bool:
        """Known to be at its end, so that closing it costs no connection."""

    async def read(self) -> bytes:
        """All of the body that has come by now, waiting for some of it; ``b""`` at its end.

        Raises as `Transport.post`.
        """

    async def aclose(self) -> None: ...


class Transport(Protocol):
    """Sends requests."""

    async def post(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Send a request, and return its response as soon as the head is there.

        Raises:
            ModelConnectionError: no connection, or it broke, or the server was silent for too long.
            ModelProtocolError: what came is not HTTP.
        """

    async def aclose(self) -> None: ...
