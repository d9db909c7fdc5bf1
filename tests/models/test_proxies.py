"""Model servers behind HTTP proxies and private certificate authorities, over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trioagent import InvalidInputError, Model, ModelConfig, ModelConnectionError, ModelStatusError, NetworkConfig
from trioagent.models import open_model
from trioagent.testing import Fault, ModelServer, Say

from .http2_server import LOOPBACK
from .loopback_proxy import proxy
from .support import ASK, ONCE, ask, serving

pytestmark = pytest.mark.real


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK)
    return context


@asynccontextmanager
async def model_through(server: ModelServer, network: NetworkConfig, base_url: str = "") -> AsyncIterator[Model]:
    config = ModelConfig(base_url=base_url or server.base_url, model="any", retry=ONCE)
    async with open_model(config, network=network) as model:
        yield model
    with trio.fail_after(5):
        await server.wait_connections(0)


async def test_plain_http_is_forwarded_over_a_connection_that_is_reused() -> None:
    async with serving([Say("a", chunk=1), "b"]) as server, proxy(credentials="ada:p w") as there:
        url = there.url.replace("http://", "http://ada:p%20w@")
        async with model_through(server, NetworkConfig(http_proxy=url, https_proxy="http://127.0.0.1:1")) as model:
            assert (await ask(model)).text == "a"
            assert (await ask(model)).text == "b"
        assert there.asked == [f"POST {server.base_url}/chat/completions".encode()]
        assert "ada" not in repr(NetworkConfig(http_proxy=url))


@pytest.mark.parametrize("secure", [False, True])
async def test_tls_goes_through_a_tunnel(secure: bool) -> None:
    """Also through a proxy that is spoken to over TLS itself: TLS in TLS."""
    at_proxy = server_context() if secure else None
    async with (
        serving([Say("a", chunk=1), "b", Fault.endless()], server_ssl=server_context()) as server,
        proxy(credentials="ada:secret", ssl_context=at_proxy) as there,
    ):
        url = there.url.replace("://", "://ada:secret@")
        async with model_through(server, NetworkConfig(https_proxy=url, ca_file=str(LOOPBACK))) as model:
            assert (await ask(model)).text == "a"
            assert (await ask(model)).text == "b"
            async with model.answer(ASK) as parts:
                async for _ in parts:
                    break
        port = server.base_url.split(":")[2].partition("/")[0]
        assert there.asked == [f"CONNECT 127.0.0.1:{port}".encode()]
        assert b"any" not in b"".join(there.heads)
        assert server.requests[0].headers.get("proxy-authorization") is None


async def test_a_proxy_that_refuses() -> None:
    async with serving(["a"], server_ssl=server_context()) as server, proxy(credentials="ada:secret") as there:
        network = NetworkConfig(https_proxy=there.url, ca_file=str(LOOPBACK))
        async with model_through(server, network) as model:
            with pytest.raises(ModelConnectionError, match="asks for a user name and a password"):
                await ask(model)
        network = NetworkConfig(http_proxy=there.url)
        async with model_through(server, network, server.base_url.replace("https", "http")) as model:
            with pytest.raises(ModelStatusError, match="407"):
                await ask(model)
    assert server.served == 0


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with serving(["a"]) as server:
        async with model_through(server, NetworkConfig(http_proxy="http://ada:secret@127.0.0.1:1")) as model:
            with pytest.raises(ModelConnectionError, match="through the proxy 127.0.0.1:1: ") as caught:
                await ask(model)
    assert "secret" not in str(caught.value)


async def test_what_no_proxy_names_is_reached_directly() -> None:
    async with serving(["a"]) as server:
        network = NetworkConfig(http_proxy="http://127.0.0.1:1", no_proxy="example.org, 127.0.0.0/8")
        async with model_through(server, network) as model:
            assert (await ask(model)).text == "a"


async def test_certificate_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    config = ModelConfig(base_url="https://127.0.0.1:1/v1", model="any")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(InvalidInputError, match=name):
            async with open_model(config, network=NetworkConfig(ca_file=str(tmp_path / name))):
                pass


async def test_folders_of_certificate_authorities(tmp_path: Path) -> None:
    """Of several, as OpenSSL takes them, one that is there suffices."""
    config = ModelConfig(base_url="https://127.0.0.1:9/v1", model="m")
    missing = f"{tmp_path / 'none'}"
    with pytest.raises(InvalidInputError, match="none': there is no such folder"):
        async with open_model(config, network=NetworkConfig(ca_dir=missing)):
            pass
    async with open_model(config, network=NetworkConfig(ca_dir=f"{missing}:{tmp_path}")):
        pass


@pytest.mark.parametrize(
    ("env", "url", "proxy_url"),
    [
        ({}, "http://a.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "http://a.example/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "https://a.example/v1", "http://q:2"),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:2"}, "https://a.example", "http://lower:1"),
        ({"ALL_PROXY": "p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"all_proxy": "http://all:1", "HTTP_PROXY": "http://own:2"}, "http://a.example/v1", "http://own:2"),
        ({"HTTPS_PROXY": " "}, "https://a.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://a.example/v1", None),
        ({"ALL_PROXY": "socks5://p:1", "HTTPS_PROXY": "http://q:2"}, "https://a.example/v1", "http://q:2"),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": "*"}, "https://a.example/v1", None),
    ],
)
def test_the_environment(env: dict[str, str], url: str, proxy_url: str | None) -> None:
    assert NetworkConfig.from_env(env).proxy_for(url) == proxy_url


@pytest.mark.parametrize(
    ("no_proxy", "direct", "through"),
    [
        (
            "example.org",
            ["http://example.org", "http://a.example.org", "http://EXAMPLE.org."],
            ["http://anexample.org"],
        ),
        (".example.org,*.net", ["http://a.example.org", "http://x.net"], ["http://example.com"]),
        ("example.org:8000", ["http://example.org:8000"], ["http://example.org", "https://example.org"]),
        ("example.org:80", ["http://example.org"], ["https://example.org"]),
        ("10.0.0.0/8 ::1", ["http://10.1.2.3", "http://[::1]:8000"], ["http://11.0.0.1", "http://[::2]"]),
        ("127.0.0.1:8000,[::1]:9", ["http://127.0.0.1:8000", "http://[::1]:9"], ["http://127.0.0.1", "http://[::1]"]),
        ("", [], ["http://localhost"]),
    ],
)
def test_no_proxy(no_proxy: str, direct: list[str], through: list[str]) -> None:
    network = NetworkConfig.from_env({"ALL_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert [network.proxy_for(url) for url in direct] == [None] * len(direct)
    assert [network.proxy_for(url) for url in through] == ["http://p:1"] * len(through)


@pytest.mark.parametrize(
    ("proxy_url", "words"),
    [
        ("socks5://ada:secret@p:1080", "https_proxy: socks5://p:1080 is a SOCKS proxy, which is not supported"),
        ("socks5h://p", "is a SOCKS proxy"),
        ("ftp://ada:secret@p", "must be an http:// or https:// URL"),
        ("http://ada:secret@p:port", "is not the URL of a proxy"),
        ("http://", "must be an http:// or https:// URL"),
    ],
)
def test_proxies_that_cannot_be_used(proxy_url: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        NetworkConfig(https_proxy=proxy_url).proxy_for("https://a.example/v1")
    assert words in str(caught.value) and "secret" not in str(caught.value)
