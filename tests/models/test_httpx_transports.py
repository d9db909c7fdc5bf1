"""httpx's own transports in place of ours, over real sockets: directly, through proxies, with TLS, with HTTP/2."""

from __future__ import annotations

import ssl

import attrs
import httpx
import pytest
import trio

from trioagent._config import ModelConfig
from trioagent._errors import ModelCertificateError, ModelConnectionError, ModelProtocolError, ModelStatusError
from trioagent.models import TextDelta, open_model
from trioagent.testing import Fault, Say

from .http2_server import LOOPBACK, Http2Server
from .loopback_proxy import proxy
from .support import ASK, ONCE, QUICK, ask, serving

pytestmark = pytest.mark.real

# httpcore leaves its inner generators to the garbage collector when a response is not read to its end.
cuts_off = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def at_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK)
    return context


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(LOOPBACK))


async def test_directly_with_connections_used_again() -> None:
    async with serving([Say("a", chunk=1, piece=7), Say("b", ignore_stream=True), Fault.status(429), "d"]) as server:
        config = ModelConfig(base_url=server.base_url, model="any", retry=QUICK)
        async with open_model(config, transport=httpx.AsyncHTTPTransport(trust_env=False)) as model:
            assert (await ask(model)).text == "a"
            assert (await ask(model)).text == "b"
            answered = await ask(model)
        assert answered.text == "d" and len(answered.retries) == 1
        assert server.connections_made == 1
        with trio.fail_after(5):
            await server.wait_connections(0)


@cuts_off
async def test_its_errors_are_ours() -> None:
    faults = [Fault.drop(), Fault.half_body(), Fault.garbage(), Fault.status(404), Fault.hang(), Fault.hang_mid_body()]
    # httpx calls a connection that ends too early a fault against the protocol; it is tried again all the same.
    errors = [ModelProtocolError, ModelProtocolError, ModelProtocolError, ModelStatusError]
    async with serving(faults) as server:
        config = ModelConfig(base_url=server.base_url, model="any", retry=ONCE, silence_seconds=0.2)
        async with open_model(config, transport=httpx.AsyncHTTPTransport(trust_env=False)) as model:
            for error in errors:
                with pytest.raises(error):
                    await ask(model)
            for _ in range(2):
                with pytest.raises(ModelConnectionError, match="sent nothing for"):
                    await ask(model)
    config = attrs.evolve(config, base_url="http://127.0.0.1:1/v1")
    async with open_model(config, transport=httpx.AsyncHTTPTransport(trust_env=False)) as model:
        with pytest.raises(ModelConnectionError):
            await ask(model)


@cuts_off
async def test_leaving_early_closes_the_connection() -> None:
    async with serving([Fault.endless(), "next"]) as server:
        config = ModelConfig(base_url=server.base_url, model="any")
        async with open_model(config, transport=httpx.AsyncHTTPTransport(trust_env=False)) as model:
            async with model.answer(ASK) as parts:
                async for part in parts:
                    assert isinstance(part, TextDelta)
                    break
            with trio.fail_after(5):
                await server.wait_connections(0)
            assert (await ask(model)).text == "next"


async def test_through_a_proxy() -> None:
    async with serving([Say("a", chunk=1), "b"]) as server, proxy() as way:
        config = ModelConfig(base_url=server.base_url, model="any", api_key="sk-x", retry=ONCE)
        transport = httpx.AsyncHTTPTransport(proxy=way.url, trust_env=False)
        async with open_model(config, transport=transport) as model:
            assert (await ask(model)).text == "a"
            assert (await ask(model)).text == "b"
        assert way.asked == [b"POST " + server.base_url.encode() + b"/chat/completions"]
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer sk-x"}


async def test_with_tls_and_through_a_tunnel_with_tls() -> None:
    async with serving([Say("a", chunk=1), "b"], server_ssl=at_server()) as server, proxy() as way:
        config = ModelConfig(base_url=server.base_url, model="any", retry=ONCE)
        direct = httpx.AsyncHTTPTransport(verify=trusting(), trust_env=False)
        tunnel = httpx.AsyncHTTPTransport(verify=trusting(), proxy=way.url, trust_env=False)
        for transport, text in ((direct, "a"), (tunnel, "b")):
            async with open_model(config, transport=transport) as model:
                assert (await ask(model)).text == text
        assert [asked.split()[0] for asked in way.asked] == [b"CONNECT"]


async def test_http_2() -> None:
    server = Http2Server("hello")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        transport = httpx.AsyncHTTPTransport(http2=True, verify=trusting(), trust_env=False)
        async with open_model(
            ModelConfig(base_url=server.base_url, model="any", retry=ONCE), transport=transport
        ) as model:
            assert (await ask(model)).text == "hello"
            async with trio.open_nursery() as asking:
                for _ in range(5):
                    asking.start_soon(ask, model)
        assert server.streams == [6]  # one connection carries them all
        nursery.cancel_scope.cancel()


async def test_a_certificate_that_nobody_trusts() -> None:
    async with serving(["secret"], server_ssl=at_server()) as server:
        config = ModelConfig(base_url=server.base_url, model="any", retry=QUICK)
        async with open_model(config, transport=httpx.AsyncHTTPTransport(trust_env=False)) as model:
            with pytest.raises(ModelCertificateError, match="SSL_CERT_FILE"):
                await ask(model)
    assert server.served == 0
