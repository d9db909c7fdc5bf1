"""Connections to model servers: proxies and certificate authorities. The environment is passed in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import attrs

from ._errors import InvalidInputError

_PROXY_VARIABLES = {"http": ("http_proxy", "HTTP_PROXY"), "https": ("https_proxy", "HTTPS_PROXY")}


def _entries(value: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(entry for entry in re.split(r"[\s,]+", value) if entry) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class NetworkConfig:
    """How to connect to model servers.

    Attributes:
        http_proxy, https_proxy: the proxy's URL for servers at http:// and at https:// addresses; None for a direct
            connection. It may contain a user name and a password, and is never part of a repr. SOCKS proxies are
            refused when one would be used.
        no_proxy: servers that are reached directly: names (including all their subdomains), addresses, and networks
            such as ``10.0.0.0/8``, each with or without a port; ``*`` for all.
        ca_file, ca_dir: trusted certificate authorities (PEM; a folder as made by ``c_rehash``) in place of the public
            ones.
    """

    http_proxy: str | None = attrs.field(default=None, repr=False)
    https_proxy: str | None = attrs.field(default=None, repr=False)
    no_proxy: tuple[str, ...] = attrs.field(default=(), converter=_entries)
    ca_file: str | None = None
    ca_dir: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> NetworkConfig:
        """Read ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY`` and ``SSL_CERT_FILE``/``_DIR`` from *env*.

        The variables in lower case take precedence, and empty ones are ignored. ``HTTP_PROXY`` in upper case is ignored
        in a CGI program, where it is a header of the client.
        """

        def first(*names: str) -> str | None:
            return next((env[name].strip() for name in names if env.get(name, "").strip()), None)

        names: dict[str, tuple[str, ...]] = dict(_PROXY_VARIABLES)
        if "REQUEST_METHOD" in env:
            names["http"] = ("http_proxy",)
        return cls(
            http_proxy=first(*names["http"], "all_proxy", "ALL_PROXY"),
            https_proxy=first(*names["https"], "all_proxy", "ALL_PROXY"),
            no_proxy=first("no_proxy", "NO_PROXY") or "",
            ca_file=first("SSL_CERT_FILE"),
            ca_dir=first("SSL_CERT_DIR"),
        )

    def proxy_for(self, url: str) -> str | None:
        """The URL of the proxy for a server's *url*, or None for a direct connection.

        Raises:
            InvalidInputError: it is a SOCKS proxy, or no URL of a proxy. Its password is not in the text.
        """
        parts = urlsplit(url)
        proxy = self.https_proxy if parts.scheme == "https" else self.http_proxy
        if proxy is None or self._is_direct(parts):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            there = urlsplit(proxy)
            shown = f"{there.scheme}://{there.hostname}" + (f":{there.port}" if there.port else "")
        except ValueError as error:
            raise InvalidInputError(f"{parts.scheme}_proxy", f"is not the URL of a proxy: {error}") from error
        if there.scheme.startswith("socks"):
            raise InvalidInputError(
                f"{parts.scheme}_proxy",
                f"{shown} is a SOCKS proxy, which is not supported; use an HTTP proxy, or put {parts.hostname} into "
                "NO_PROXY",
            )
        if there.scheme not in ("http", "https") or not there.hostname:
            raise InvalidInputError(f"{parts.scheme}_proxy", f"must be an http:// or https:// URL, not {shown}")
        return proxy

    def _is_direct(self, parts: SplitResult) -> bool:
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return any(_covers(entry.lower(), host, port) for entry in self.no_proxy)


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY matches the server at *host* and *port*."""
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        with contextlib.suppress(ValueError):  # the entry is not an address or network, or has a port
            return address in ip_network(entry.strip("[]"), strict=False)
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        if int(wanted) != port:
            return False
        entry = name.strip("[]")
        if address is not None and address == _address(entry):
            return True
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
