"""Transports: the interface shared by the connection pool and any httpx transport."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from copy import copy
from typing import Protocol
from urllib.parse import urlsplit

from .._errors import ModelCertificateError, ModelConnectionError
from ._http1 import is_header, post_head
from ._proxy import Proxy

_MAX_CAUSES = 10  # checked in an error's chain
_PORTS = {"http": 80, "https": 443}


class Endpoint:
    """The address of a chat completions endpoint, and the headers of every request to it.

    Attributes:
        url: the whole URL.
        where: the URL without its query, which may contain a key; for error messages.
        headers: the request headers, in order. They contain the API key.
        silence_seconds: read timeout: how long the server may send nothing at all.
        origin: scheme, host and port.
        proxy: the proxy that plain HTTP requests are sent to; tunnels are up to the transport.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], silence_seconds: float, proxy: Proxy | None = None
    ) -> None:
        parts = urlsplit(url)
        self.url, self.where = url, url.partition("?")[0]
        self.headers, self.silence_seconds = headers, silence_seconds
        self.origin = (parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = dict(headers)
        if proxy is not None and parts.scheme == "http":
            target = url
            if proxy.authorization:
                fields["Proxy-Authorization"] = proxy.authorization
        self._head = post_head(target.encode("ascii"), parts.netloc, fields.items())
        self._more = b""  # header lines of one request

    def with_headers(self, headers: Mapping[str, str]) -> Endpoint:
        """The same endpoint for one request that has further *headers*, as far as they are valid.

        Headers of every request take precedence: none of them is replaced.
        """
        given = {name.lower() for name in self.headers}
        more = {
            name: value
            for name, value in headers.items()
            if name.lower() not in given and is_header(name, value)  # a client may have sent a trace header
        }
        endpoint = copy(self)
        endpoint.headers = {**self.headers, **more}
        endpoint._more = b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in more.items())
        return endpoint

    def request(self, body: bytes) -> bytes:
        """Serialize a request as HTTP/1.1."""
        return b"%b%d\r\n%b\r\n%b" % (self._head, len(body), self._more, body)

    def connection_error(self, problem: str) -> ModelConnectionError:
        """The error for a connection that broke or could not be made."""
        return ModelConnectionError(self.where, problem)

    def error_for(self, error: BaseException, problem: str) -> ModelConnectionError:
        """The error for a connection that could not be made because of *error*."""
        cause: BaseException | None = error
        for _ in range(_MAX_CAUSES):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return ModelCertificateError(self.where, problem)
            cause = None if cause is None else cause.__cause__ or cause.__context__
        return self.connection_error(problem)

    def silence_error(self) -> ModelConnectionError:
        """The error for a read timeout."""
        return self.connection_error(f"it sent nothing for {self.silence_seconds:g} s")


class Response(Protocol):
    """A response whose head has arrived. Every response must be closed, whatever happens to it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""

    @property
    def over(self) -> bool:
        """Whether the body has been read to its end, so that closing keeps the connection."""

    async def read(self) -> bytes:
        """The next piece of the body, waiting for one; ``b""`` at its end. Raises as `Transport.post`."""

    async def aclose(self) -> None: ...


class Transport(Protocol):
    """Sends requests."""

    async def post(self, endpoint: Endpoint, body: bytes) -> Response:
        """Send a request and return its response as soon as the head has arrived.

        Raises:
            ModelConnectionError: no connection, a broken one, or a read timeout.
            ModelProtocolError: the server does not speak HTTP.
        """

    async def aclose(self) -> None: ...
