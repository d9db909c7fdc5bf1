"""The loopback model server, spoken to by another client than ours."""

from __future__ import annotations

import json
from collections.abc import Iterable

import h11
import httpx
import pytest
import trio

from trioagent.testing import Fault, ModelRequest, ModelServer, Say, Wire, serve_model
from trioagent.testing._server import Answer, Handler

pytestmark = pytest.mark.real

BODY = {"model": "m", "messages": [{"role": "user", "content": 'say "stream": true'}]}


async def start(nursery: trio.Nursery, script: Iterable[Answer] | Handler) -> ModelServer:
    server: ModelServer = await nursery.start(serve_model, script)
    return server


async def post(server: ModelServer, body: object = BODY, **options: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        return await client.post(server.base_url + "/chat/completions", json=body, **options)  # type: ignore[arg-type]


async def test_json_and_streams(nursery: trio.Nursery) -> None:
    server = await start(nursery, ["hello"] * 2)
    whole = await post(server)
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello"},
        "finish_reason": "stop",
    }
    assert whole.json()["usage"] == {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    stream = await post(server, {**BODY, "stream": True})
    assert stream.headers["content-type"] == "text/event-stream"
    events = [line.removeprefix("data: ") for line in stream.text.split("\n\n")]
    assert events[-2:] == ["[DONE]", ""]
    assert [json.loads(event)["choices"] for event in events[:-2]] == [
        [{"index": 0, "delta": {"content": "hello"}}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    await server.wait_connections(0)
    assert [request.stream for request in server.requests] == [False, True]
    assert server.requests[0].body == BODY
    assert server.requests[0].messages == BODY["messages"]
    assert server.requests[0].headers["content-type"] == "application/json"
    nursery.cancel_scope.cancel()


async def test_handlers_may_be_functions_sync_or_async(nursery: trio.Nursery) -> None:
    def echo(request: ModelRequest) -> str:
        return request.messages[-1]["content"].upper()

    gate = trio.Event()

    async def when_open(request: ModelRequest) -> Answer:
        await gate.wait()
        return Fault.status(418, "teapot")

    upper, gated = await start(nursery, echo), await start(nursery, when_open)
    assert (await post(upper)).json()["choices"][0]["message"]["content"] == 'SAY "STREAM": TRUE'
    async with trio.open_nursery() as waiting:

        async def expect_teapot() -> None:
            assert (await post(gated)).status_code == 418

        waiting.start_soon(expect_teapot)
        await gated.wait_connections(1)
        gate.set()
    nursery.cancel_scope.cancel()


async def test_other_requests_and_the_end_of_the_script_are_refused(nursery: trio.Nursery) -> None:
    server = await start(nursery, [])
    assert "no answer left" in (await post(server)).json()["error"]["message"]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(server.base_url + "/models")).status_code == 404
        assert (await client.post(server.base_url + "/completions", content=b"x")).status_code == 404
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("split", [1, 5, 1000])
async def test_requests_in_any_split_and_pipelined(nursery: trio.Nursery, split: int) -> None:
    server = await start(nursery, ["one", "two"])
    body = json.dumps(BODY).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    port = httpx.URL(server.base_url).port
    assert port is not None
    answers = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        wire = request * 2
        for i in range(0, len(wire), split):
            await stream.send_all(wire[i : i + split])
        while answers.count(b"choices") < 2 or not answers.endswith(b"}}"):
            answers += await stream.receive_some()
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(answers)
    response, data = reader.next_event(), reader.next_event()
    assert isinstance(response, h11.Response)
    assert isinstance(data, h11.Data)
    assert b"one" in bytes(data.data)
    assert [request.body for request in server.requests] == [BODY, BODY]
    nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_during_the_delay_is_noticed(nursery: trio.Nursery) -> None:
    server = await start(nursery, [Say("late", delay=60.0), Fault.hang(), Fault.endless()])
    for _ in range(3):
        with pytest.raises(httpx.TimeoutException):
            async with httpx.AsyncClient(trust_env=False, timeout=0.1) as client:
                with trio.move_on_after(0.2):
                    await client.post(server.base_url + "/chat/completions", json={**BODY, "stream": True})
                raise httpx.ReadTimeout("it kept talking")
        with trio.fail_after(5):
            await server.wait_connections(0)
    assert [request.pieces_sent > 0 for request in server.requests] == [False, False, True]
    nursery.cancel_scope.cancel()


async def test_faults_can_be_used_again(nursery: trio.Nursery) -> None:
    fault = Fault.huge_body(4096)
    server = await start(nursery, [fault, fault])
    for _ in range(2):
        assert (await post(server)).content == b" " * 4096
    assert isinstance(fault, Wire)
    nursery.cancel_scope.cancel()
