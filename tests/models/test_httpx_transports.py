"""httpx's own transports in place of ours, over real sockets: directly, through proxies, with TLS, with HTTP/2."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio

from trioagent._config import ModelConfig
from trioagent._errors import ModelConnectionError, ModelProtocolError, ModelStatusError
from trioagent.models import TextDelta, open_model
from trioagent.testing import Fault, Say

from .http2_server import LOOPBACK, Http2Server
from .support import ASK, ONCE, QUICK, ask, serving

pytestmark = pytest.mark.real

# httpcore leaves its inner generators to the garbage collector when a response is not read to its end.
cuts_off = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@attrs.define
class Proxy:
    """An HTTP proxy: tunnels for CONNECT, and the target's own connection for anything else."""

    url: str = ""
    asked: list[bytes] = attrs.field(factory=list)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._handle, 0)
            self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            task_status.started()

    async def _handle(self, client: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client.receive_some()
        method, target, _ = head.split(b" ", 2)
        self.asked.append(method + b" " + target)
        url = httpx.URL(("https://" if method == b"CONNECT" else "") + target.decode())
        server = await trio.open_tcp_stream(url.host, url.port or 443)
        if method == b"CONNECT":
            await client.send_all(b"HTTP/1.1 200 Go on\r\n\r\n")
        else:
            await server.send_all(head.replace(target, url.raw_path, 1))
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, client, server, nursery.cancel_scope)
            nursery.start_soon(_copy, server, client, nursery.cancel_scope)


async def _copy(source: trio.SocketStream, target: trio.SocketStream, ended: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some():
            await target.send_all(data)
    except trio.BrokenResourceError:
        pass
    ended.cancel()


@asynccontextmanager
async def proxy() -> AsyncIterator[Proxy]:
    async with trio.open_nursery() as nursery:
        serving_proxy = Proxy()
        await nursery.start(serving_proxy.serve)
        yield serving_proxy
        nursery.cancel_scope.cancel()


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
