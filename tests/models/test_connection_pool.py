"""Connections: used again, replaced when stale, bounded in idleness, closed with their request."""

from __future__ import annotations

import json
import socket
import ssl
from itertools import repeat
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from trioagent._config import ModelConfig
from trioagent._errors import ModelCertificateError, ModelConnectionError
from trioagent._server_behaviour import CloseEndpoint, action_of
from trioagent.models import TextDelta
from trioagent.models._connection_pool import ConnectionPool
from trioagent.models._http import open_model
from trioagent.models._streams import shared_ssl_context
from trioagent.models._transport import Endpoint
from trioagent.testing import Fault, Say, Wire
from trioagent.testing._server import Answer

from .support import ASK, ONCE, ask, model_before, serving

pytestmark = pytest.mark.real

LOOPBACK = Path(__file__).parent / "tls" / "loopback.pem"


async def test_one_connection_serves_many_requests() -> None:
    answers: list[Answer] = ["a", Say("b", chunk=1, piece=7), Say("c", ignore_stream=True), Fault.status(404), "e"]
    async with serving(answers) as server, model_before(server, retry=ONCE) as model:
        for text in "abc":
            assert (await ask(model)).text == text
        with pytest.raises(Exception, match="404"):
            await ask(model)
        assert (await ask(model)).text == "e"
        assert server.connections_made == 1


async def test_an_answer_left_after_all_of_it_has_come_keeps_its_connection() -> None:
    async with serving([Say("hello", chunk=1), "again"]) as server, model_before(server) as model:
        async with model.answer(ASK) as parts:
            async for _ in parts:
                break
        assert (await ask(model)).text == "again"
        assert server.connections_made == 1


async def test_leaving_early_stops_the_server_and_not_the_model() -> None:
    async with serving([Fault.endless(), "next"]) as server, model_before(server) as model:
        async with model.answer(ASK) as parts:
            async for part in parts:
                assert isinstance(part, TextDelta)
                break
        with trio.fail_after(5):
            await server.wait_connections(0)
        assert server.requests[0].pieces_sent > 0
        assert (await ask(model)).text == "next"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_connection_closed_while_idle_is_replaced_without_notice(then: str) -> None:
    first = Say("first", then=then)  # type: ignore[arg-type]
    async with serving([first, first, "third"]) as server, model_before(server, retry=ONCE) as model:
        for text in ("first", "first", "third"):
            assert (await ask(model)).text == text
            if text == "first":
                with trio.fail_after(5):
                    await server.wait_connections(0)
        assert server.connections_made == 3


async def test_a_connection_that_closes_as_the_request_arrives_costs_no_attempt() -> None:
    # The second request comes in on the kept connection, which then closes without a byte: a third one follows at once.
    async with serving(["first", Fault.drop(), "second"]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "first"
        answered = await ask(model)
    assert (answered.text, answered.retries) == ("second", [])
    assert server.served == 3 and server.connections_made == 2


async def test_but_only_once() -> None:
    async with serving(["first", Fault.drop(), Fault.drop(), "never"]) as server:
        async with model_before(server, retry=ONCE) as model:
            await ask(model)
            with pytest.raises(ModelConnectionError, match="before any response"):
                await ask(model)
    assert server.served == 3


async def test_a_response_with_bytes_behind_it_is_not_trusted_with_another_request() -> None:
    smuggler = Wire((*Say("a").wire(stream=False).pieces, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    joined = Wire((b"".join(smuggler.pieces),))
    async with serving([joined, "b"]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "a"
        assert (await ask(model)).text == "b"
        assert server.connections_made == 2


async def test_a_server_that_says_close_is_obeyed() -> None:
    closing = Wire(
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: [DONE]\n\n",)
    )
    async with serving([Wire(closing.pieces, then="close"), "b"]) as server, model_before(server) as model:
        assert (await ask(model)).text == ""
        assert (await ask(model)).text == "b"


async def test_many_at_once_take_a_connection_each_and_the_surplus_idles_out() -> None:
    transport = ConnectionPool(connect_seconds=5, idle_seconds=0.0)
    async with serving(repeat(Say("x", delay=0.4))) as server:
        async with open_model(ModelConfig(base_url=server.base_url, model="any"), transport=transport) as model:
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(ask, model)
            assert server.connections_made == 30
            await ask(model)
            with trio.fail_after(5):
                await server.wait_connections(1)
        with trio.fail_after(5):
            await server.wait_connections(0)


async def test_closing_closes_requests_at_work() -> None:
    transport = ConnectionPool(connect_seconds=5)
    async with serving([Fault.hang()]) as server, trio.open_nursery() as nursery:

        async def send() -> None:
            endpoint = Endpoint(server.base_url + "/chat/completions", {}, 60.0)
            with pytest.raises(trio.ClosedResourceError):
                await transport.post(endpoint, b"{}")
            with pytest.raises(trio.ClosedResourceError):
                await transport.post(endpoint, b"{}")

        nursery.start_soon(send)
        await server.wait_connections(1)
        await trio.testing.wait_all_tasks_blocked()
        transport.close()
        with trio.fail_after(5):
            await server.wait_connections(0)


async def test_a_server_may_refuse_a_body_before_it_has_read_it() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig!")
        await stream.send_eof()
        with trio.move_on_after(5):
            while await stream.receive_some(65536):
                pass
        closed.set()

    closed = trio.Event()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse, 0)
        port = listeners[0].socket.getsockname()[1]
        transport = ConnectionPool(connect_seconds=5)
        response = await transport.post(Endpoint(f"http://127.0.0.1:{port}/", {}, 60.0), b"x" * 10_000_000)
        assert response.status == 413
        assert await response.read() == b"big!"
        await response.aclose()
        with trio.fail_after(5):  # a connection whose request was not sent whole is closed
            await closed.wait()
        transport.close()
        nursery.cancel_scope.cancel()


async def test_tls_with_a_trusted_certificate() -> None:
    at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_server.load_cert_chain(LOOPBACK)
    trusting = ssl.create_default_context(cafile=str(LOOPBACK))
    async with serving([Say("a", chunk=1), "b", Fault.endless()], server_ssl=at_server) as server:
        async with model_before(server, client_ssl=trusting) as model:
            assert (await ask(model)).text == "a"
            assert (await ask(model)).text == "b"
            assert server.connections_made == 1
            async with model.answer(ASK) as parts:
                async for _ in parts:
                    break
            with trio.fail_after(5):
                await server.wait_connections(0)


async def test_tls_with_a_certificate_that_nobody_trusts() -> None:
    at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_server.load_cert_chain(LOOPBACK)
    async with serving(["secret"], server_ssl=at_server) as server, model_before(server) as model:
        with pytest.raises(ModelCertificateError, match="CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE") as caught:
            await ask(model)
    assert server.served == 0 and caught.value.attempts == 1, "no retry would help"
    assert action_of(caught.value) == CloseEndpoint("certificate")


async def test_plain_http_where_tls_is_expected() -> None:
    async with serving(["secret"]) as server:
        https = server.base_url.replace("http:", "https:")
        async with model_before(server, base_url=https, retry=ONCE, connect_seconds=0.3) as model:
            with pytest.raises(ModelConnectionError):
                await ask(model)


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_hosts_by_name_and_in_six_parts(host: str) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer_briefly, 0)
        port = {listener.socket.family: listener.socket.getsockname()[1] for listener in listeners}
        if host == "[::1]" and socket.AF_INET6 not in port:
            pytest.skip("no IPv6 here")
        number = port[socket.AF_INET6 if host == "[::1]" else socket.AF_INET]
        config = ModelConfig(base_url=f"http://{host}:{number}/v1", model="any", retry=ONCE)
        async with open_model(config) as model:
            assert (await ask(model)).text == f"{host}:{number}"
        nursery.cancel_scope.cancel()


async def answer_briefly(stream: trio.SocketStream) -> None:
    """Answers one request with the host that it asks for."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    host = head.partition(b"Host: ")[2].partition(b"\r\n")[0].decode()
    body = json.dumps({"choices": [{"message": {"content": host}}]}).encode()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_one_ssl_context_for_all() -> None:
    assert shared_ssl_context() is shared_ssl_context()


async def test_another_httpx_transport_can_take_its_place() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"message": {"content": str(request.url)}}]})

    config = ModelConfig(base_url="http://models.invalid/v1", model="any")
    async with open_model(config, transport=httpx.MockTransport(handle)) as model:
        assert (await ask(model)).text == "http://models.invalid/v1/chat/completions"
