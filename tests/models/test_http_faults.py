"""What servers do wrong, over real sockets: each has its typed error, and what can pass is retried."""

from __future__ import annotations

import pickle
import socket
import time
import traceback
from email.utils import formatdate
from typing import Any

import pytest
import trio
import trio.testing

from trioagent._config import RetryPolicy
from trioagent._errors import (
    InvalidInputError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
)
from trioagent._messages import ChatMessage, Usage
from trioagent.models import Retrying, TextDelta
from trioagent.models._http import HttpModel
from trioagent.testing import Fault, Say, Wire
from trioagent.testing._server import Answer

from .support import ASK, ONCE, ask, model_before, serving

pytestmark = pytest.mark.real

DELTA = {"choices": [{"delta": {"content": "hi"}}]}
STOP = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


async def failure(fault: Answer, **settings: Any) -> ModelError:
    async with serving([fault]) as server, model_before(server, **{"retry": ONCE, **settings}) as model:
        with pytest.raises(ModelError) as caught:
            await ask(model)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    return caught.value


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault.status(500, "boom"), ModelStatusError, "status 500: boom"),
        (Fault.status(429, "slow"), ModelStatusError, "status 429: slow"),
        (Fault.status(401, "no"), ModelStatusError, "check the API key"),
        (Fault.status(404, "no"), ModelStatusError, "check the model's name"),
        (Fault.body(b"<h1>Bad Gateway</h1>", content_type="text/html", status=502), ModelStatusError, "Bad Gateway"),
        (Fault.drop(), ModelConnectionError, "closed before any response"),
        (Fault.drop(then="reset"), ModelConnectionError, "reset"),
        (Fault.half_body(), ModelConnectionError, "middle of the response"),
        (Fault.half_body(then="reset"), ModelConnectionError, "reset"),
        (Fault.events(DELTA), ModelConnectionError, "broke off after 2 characters"),
        (Fault.events(), ModelConnectionError, "broke off after 0 characters"),
        (Fault.garbage(), ModelProtocolError, "does not speak HTTP"),
        (Fault.garbage(b"\x16\x03\x01\x00\x05garbage"), ModelProtocolError, "does not speak HTTP"),
        (Fault.garbage(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000), ModelProtocolError, "does not speak HTTP"),
        (Fault.bad_json(), ModelProtocolError, "not a JSON object"),
        (Fault.null_choices(), ModelProtocolError, "no list of choices"),
        (Fault.json([1, 2]), ModelProtocolError, "not a JSON object"),
        (Fault.json({"hello": "world"}), ModelProtocolError, "no list of choices"),
        (Fault.body(b"", status=204), ModelProtocolError, "not a JSON object"),
        (Fault.body(b"welcome to the captive portal", content_type="text/html"), ModelProtocolError, "captive portal"),
        (Fault.events(DELTA, {"choices": None}), ModelConnectionError, "broke off after 2 characters"),
        (Fault.events(DELTA, "{oops"), ModelProtocolError, "not a JSON object"),
        (Fault.events(DELTA, {"error": {"message": "overloaded", "code": 503}}), ModelStatusError, "503: overloaded"),
        (Fault.events(DELTA, {"error": {"message": "odd"}}), ModelProtocolError, "reports an error: odd"),
        (Fault.huge_body(9 * 1024 * 1024), ModelProtocolError, "longer than 8388608 bytes"),
        (Fault.events("x" * 2_000_000), ModelProtocolError, "longer than 1048576 bytes"),
        (Wire((b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n",)), ModelProtocolError, "'br'"),
    ],
)
async def test_faults(fault: Wire, error: type[ModelError], words: str) -> None:
    caught = await failure(fault)
    assert type(caught) is error
    assert words in str(caught)
    assert caught.attempts == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503),
        Fault.status(429, retry_after=0.001),
        Fault.drop(),
        Fault.drop(then="reset"),
        Fault.half_body(),
        Fault.bad_json(),
        Fault.null_choices(),
        Fault.garbage(),
        Fault.events(DELTA, {"error": {"message": "overloaded", "code": 503}}),
    ],
)
async def test_what_may_pass_is_retried(fault: Wire, stream: bool) -> None:
    async with serving([fault, Say("hello", chunk=2)]) as server, model_before(server, stream=stream) as model:
        answered = await ask(model)
    assert answered.text == "hello"
    assert [retry.attempt for retry in answered.retries] == [1]
    assert answered.end is not None and answered.end.usage == Usage(prompt_tokens=12, completion_tokens=3, requests=2)
    assert len(server.requests) == 2


async def test_a_deterministic_failure_is_given_up_early() -> None:
    async with serving(lambda request: Fault.status(500, "index out of range")) as server:
        async with model_before(server) as model:
            with pytest.raises(ModelStatusError) as caught:
                await ask(model)
    assert caught.value.attempts == server.served == 2


async def test_bad_requests_are_not_sent_again() -> None:
    async with serving(lambda request: Fault.status(400, "context too long")) as server:
        async with model_before(server) as model:
            with pytest.raises(ModelStatusError, match="context too long"):
                await ask(model)
    assert server.served == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("1.5", 1.5), (formatdate(4102444800, usegmt=True), None), ("soon", None)]
)
async def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    error = await failure(Fault.status(429, retry_after=header))
    assert isinstance(error, ModelStatusError)
    if header.endswith("GMT"):
        assert error.retry_after is not None and error.retry_after > 1e6
        assert error.retry_after == pytest.approx(4102444800 - time.time(), abs=30)
    else:
        assert error.retry_after == seconds


async def test_redirects_are_not_followed_and_the_key_stays_here() -> None:
    async with serving(["stolen"]) as thief:
        error = await failure(Fault.redirect(thief.base_url + "/chat/completions?token=x"), api_key="sk-secret-123")
    assert isinstance(error, ModelStatusError) and error.status == 307
    assert "redirects to 127.0.0.1;" in str(error)
    assert thief.served == 0


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with serving([]) as server, model_before(server, base_url=url, retry=ONCE) as model:
            with pytest.raises(ModelConnectionError, match="is the server running") as caught:
                await ask(model)
    assert caught.value.url == f"{url}/chat/completions"


async def test_a_host_that_takes_no_connection_is_given_up() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.socket() as first, socket.socket() as second:  # they fill the backlog; nobody accepts
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(address)
            async with serving([]) as server:
                url = f"http://127.0.0.1:{address[1]}/v1"
                async with model_before(server, base_url=url, retry=ONCE, connect_seconds=0.2) as model:
                    with pytest.raises(ModelConnectionError, match=r"no connection within 0\.2 s"):
                        await ask(model)


async def test_a_name_that_does_not_exist() -> None:
    async with (
        serving([]) as server,
        model_before(server, base_url="http://no-such-host.invalid/v1", retry=ONCE) as model,
    ):
        with pytest.raises(ModelConnectionError, match=r"no-such-host\.invalid"):
            await ask(model)


@pytest.mark.parametrize("url", ["http://", "http:///v1", "http://[::1/v1"])
async def test_a_url_that_is_none(url: str) -> None:
    async with serving([]) as server:
        with pytest.raises(InvalidInputError, match="base_url"):
            async with model_before(server, base_url=url):
                pass


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Fault.events(DELTA, STOP, "[DONE]"), "hi"),
        (Fault.events(DELTA, STOP), "hi"),
        (Fault.events(DELTA, "[DONE]"), "hi"),
        (Fault.events({"choices": []}, DELTA, {"choices": []}, STOP), "hi"),
        (Fault.events({"choices": [{"delta": {"reasoning_content": "hm"}}]}, DELTA, STOP), "hi"),
        (Fault.events(DELTA, STOP, "[DONE]", "{trailing rubbish", then="close"), "hi"),
        (Fault.json({"choices": [{"message": {"content": "hi"}}]}), "hi"),
        (Wire((b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: [DONE]\n\n",), then="close"), ""),
        (Wire((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n",), then="close"), None),
        (Say("é𝄞" * 50, piece=1, usage=None), "é𝄞" * 50),
        (Say("hi", ignore_stream=True), "hi"),
    ],
)
async def test_what_is_tolerated(answer: Answer, text: str | None) -> None:
    if text is None:
        assert "middle of the response" in str(await failure(answer))
        return
    async with serving([answer]) as server, model_before(server, retry=ONCE) as model:
        answered = await ask(model)
    assert answered.text == text
    assert answered.end is not None and answered.end.finish_reason == "stop"


async def test_usage_is_estimated_if_the_server_does_not_count() -> None:
    async with serving([Say("x" * 40, usage=None)]) as server, model_before(server) as model:
        answered = await ask(model, [ChatMessage("user", "y" * 9)])
    assert answered.end is not None
    assert answered.end.usage == Usage(prompt_tokens=3, completion_tokens=10, estimated=True, requests=1)


async def test_a_stream_left_open_after_its_last_word_is_an_answer() -> None:
    done = Fault.events(DELTA, STOP, "[DONE]")
    open_ended = Wire(tuple(piece.removesuffix(b"0\r\n\r\n") for piece in done.pieces), then="hang")
    async with serving([open_ended]) as server, model_before(server) as model:
        assert (await ask(model)).text == "hi"
        with trio.fail_after(5):
            await server.wait_connections(0)


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Virtual time at fifty times the speed of real time: it continues while real sockets are at work."""
    return trio.testing.MockClock(rate=50.0)


async def test_an_error_body_that_hangs_does_not_hide_its_status(fast_clock: trio.testing.MockClock) -> None:
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nwe are sor"
    error = await failure(Wire((head,), then="hang"))
    assert isinstance(error, ModelStatusError)
    assert (error.status, error.detail) == (503, "we are sor")


async def test_the_key_is_in_one_header_and_in_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    key = "sk-secret-123"
    faults = [
        Fault.status(401, f"Incorrect API key provided: {key}"),
        Fault.body(f"Authorization: Bearer {key}".encode(), status=400, content_type="text/plain"),
        Fault.json({"headers": {"authorization": key}}),
        Fault.events({"error": {"message": f"bad key {key}", "code": 403}}),
        Fault.garbage(f"{key}\r\n\r\n".encode()),
        Fault.drop(),
    ]
    async with serving(faults) as server, model_before(server, api_key=key, retry=ONCE) as model:
        assert isinstance(model, HttpModel)
        seen = [repr(model), str(model)]
        for _ in faults:
            with pytest.raises(ModelError) as caught:
                await ask(model)
            seen += [repr(caught.value), str(caught.value), *traceback.format_exception(caught.value)]
    assert key not in "".join(seen)
    assert "[API key]" in "".join(seen)
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {key}"] * len(faults)
    assert all(key.encode() not in request.content for request in server.requests)
    assert "".join(capsys.readouterr()) == ""


async def test_the_request_as_it_goes_over_the_wire() -> None:
    messages = [ChatMessage("system", "s"), ChatMessage("assistant", "a"), ChatMessage("tool", "<result>")]
    async with serving(["a"]) as server, model_before(server, base_url=server.base_url + "/?api-version=1") as model:
        await ask(model, messages)
    (request,) = server.requests
    assert request.target == "/v1/chat/completions?api-version=1"
    assert [message["role"] for message in request.messages] == ["system", "assistant", "user"]
    assert request.body["stream"] is True
    assert request.body["stream_options"] == {"include_usage": True}
    assert "authorization" not in request.headers
    assert request.headers["host"] == server.base_url.removeprefix("http://").removesuffix("/v1")


async def test_text_of_a_broken_attempt_is_declared_void() -> None:
    async with serving([Fault.half_body("wrong"), "right"]) as server, model_before(server) as model:
        async with model.answer(ASK) as parts:
            kinds = [part.text if isinstance(part, TextDelta) else type(part) async for part in parts]
    assert kinds[:3] == ["wrong", Retrying, "right"]


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.hang_mid_body(), Fault.status(500, "x" * 10)])
async def test_a_server_that_falls_silent_is_given_up_and_asked_again(fault: Answer) -> None:
    async with serving([fault, Say("Well.")]) as server:
        async with model_before(server, silence_seconds=0.2, retry=RetryPolicy(attempts=2, first_delay=0.01)) as model:
            answered = await ask(model)
    assert (answered.text, len(answered.retries)) == ("Well.", 1)


async def test_silence_is_an_error_of_the_connection() -> None:
    error = await failure(Fault.hang(), silence_seconds=0.05)
    assert isinstance(error, ModelConnectionError)
    assert "it sent nothing for 0.05 s" in str(error)


async def test_slow_is_not_silent() -> None:
    slow = Say("a b c d e f", chunk=1, pace=0.05)
    async with serving([slow]) as server, model_before(server, silence_seconds=0.4, retry=ONCE) as model:
        assert (await ask(model)).text == "a b c d e f"
